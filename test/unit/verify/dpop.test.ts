import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { verifyDpop, type DpopExpectations } from '../../../src/verify/dpop.ts';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { signJwt, testKey, type TestKey } from '../../support/signed-request.ts';

interface Vectors {
  readonly jkt: string;
  readonly access_token: string;
  readonly cases: readonly { readonly ref: string; readonly htm: string; readonly htu: string; readonly iat: number; readonly proof: string }[]; // prettier-ignore
}
const vectors = JSON.parse(
  readFileSync(new URL('../../vectors/rfc9449-dpop.json', import.meta.url), 'utf8'),
) as Vectors;

const nowSeconds = 1_800_000_000;
const agent = testKey();
const expected = (options: Partial<DpopExpectations> = {}): DpopExpectations => ({
  method: 'POST',
  target: parseTargetUri('https://api.example/v1/pay?to=bob'),
  nonceStore: new MemoryNonceStore({ maxEntries: 10, clock: () => nowSeconds * 1000 }),
  clock: () => nowSeconds * 1000,
  ...options,
});

function withoutAlg({ jwk }: TestKey): Record<string, unknown> {
  return Object.fromEntries(Object.entries(jwk).filter(([name]) => name !== 'alg'));
}

function proof(
  claims: Readonly<Record<string, unknown>> = {},
  header: Readonly<Record<string, unknown>> = {},
): string {
  const all = {
    jti: randomUUID(),
    htm: 'POST',
    htu: 'https://api.example/v1/pay',
    iat: nowSeconds,
    ...claims,
  };
  return signJwt(agent, { typ: 'dpop+jwt', jwk: withoutAlg(agent), ...header }, all);
}

const refusal = (text: string, options: Partial<DpopExpectations> = {}): Promise<string | undefined> =>
  codeOfAsync(() => verifyDpop(text, expected(options)));

describe('RFC 9449', () => {
  it.each(vectors.cases)('$ref verifies', async ({ htm, htu, iat, proof: text }) => {
    const verified = await verifyDpop(text, {
      method: htm,
      target: parseTargetUri(htu),
      nonceStore: new MemoryNonceStore({ maxEntries: 1, clock: () => iat * 1000 }),
      clock: () => iat * 1000,
      thumbprint: vectors.jkt,
      ...(htm === 'GET' ? { accessToken: vectors.access_token } : {}),
    });
    expect(verified).toMatchObject({ thumbprint: vectors.jkt, issuedAt: iat });
  });
});

describe('verifyDpop', () => {
  it('takes a proof once', async () => {
    const options = expected();
    const text = proof();
    expect((await verifyDpop(text, options)).thumbprint).toBe(agent.thumbprint);
    expect(await codeOfAsync(() => verifyDpop(text, options))).toBe('replayed');
  });

  it('takes a key that says its alg', async () => {
    expect(await refusal(proof({}, { jwk: agent.jwk }))).toBeUndefined();
  });

  const ath = createHash('sha256').update('token').digest('base64url');
  it('binds the access token and its key', async () => {
    const bound = { accessToken: 'token', thumbprint: agent.thumbprint };
    expect(await refusal(proof({ ath }), bound)).toBeUndefined();
    expect(await refusal(proof(), bound)).toBe('verification_failed');
    expect(await refusal(proof({ ath }), { ...bound, accessToken: 'other' })).toBe('verification_failed');
    expect(await refusal(proof({ ath }), { ...bound, thumbprint: testKey().thumbprint })).toBe(
      'verification_failed',
    );
  });

  it('demands the nonce this server gave', async () => {
    expect(await refusal(proof({ nonce: 'n1' }), { nonce: 'n1' })).toBeUndefined();
    expect(await refusal(proof({ nonce: 'n2' }), { nonce: 'n1' })).toBe('verification_failed');
    expect(await refusal(proof(), { nonce: 'n1' })).toBe('verification_failed');
  });

  it.each([
    ['another method', { htm: 'GET' }, {}],
    ['the method in lower case', { htm: 'post' }, {}],
    ['another path', { htu: 'https://api.example/v1/other' }, {}],
    ['another host', { htu: 'https://evil.example/v1/pay' }, {}],
    ['a query', { htu: 'https://api.example/v1/pay?to=bob' }, {}],
    ['another spelling of the URI', { htu: 'https://api.example:443/v1/pay' }, {}],
    ['the future', { iat: nowSeconds + 6 }, {}],
    ['the past', { iat: nowSeconds - 61 }, {}],
    ['a time in fractions', { iat: nowSeconds + 0.5 }, {}],
    ['no jti', { jti: undefined }, {}],
    ['an empty jti', { jti: '' }, {}],
    ['a long jti', { jti: 'x'.repeat(257) }, {}],
    ['another typ', {}, { typ: 'jwt' }],
    ['no typ', {}, { typ: undefined }],
    ['kid', {}, { kid: 'x' }],
    ['a private key', {}, { jwk: { ...withoutAlg(agent), d: 'AAAA' } }],
    ['a symmetric key', {}, { jwk: { kty: 'oct', k: 'AAAA' } }],
    ['no key', {}, { jwk: null }],
    ['a key of another alg', {}, { jwk: { ...withoutAlg(agent), alg: 'ES384' } }],
    ['alg none', {}, { alg: 'none' }],
    ['alg HS256', {}, { alg: 'HS256' }],
    ['an alg that does not fit the key', {}, { alg: 'ES384' }],
  ])('refuses %s', async (_what, claims, header) => {
    const definite = Object.fromEntries(Object.entries(header).filter(([, value]) => value !== undefined));
    const text =
      'typ' in header && header.typ === undefined
        ? signJwt(agent, { jwk: withoutAlg(agent) }, { jti: 'x', htm: 'POST', iat: nowSeconds })
        : proof(claims, definite);
    expect(await refusal(text)).toBe('verification_failed');
  });

  it('refuses a proof by another key than it shows', async () => {
    expect(await refusal(proof({}, { jwk: withoutAlg(testKey()) }))).toBe('signature_invalid');
  });

  it('refuses a proof cut anywhere', async () => {
    const text = proof();
    for (let end = 0; end < text.length; end += 1) {
      expect(await refusal(text.slice(0, end)), `cut at ${String(end)}`).toMatch(
        /malformed_jws|signature_invalid/,
      );
    }
  });

  it('fails closed where the store fails', async () => {
    const nonceStore = new MemoryNonceStore({ maxEntries: 0 });
    expect(await refusal(proof(), { nonceStore })).toBe('replay_check_unavailable');
    const broken = { claim: () => Promise.reject(new Error('connection lost')) };
    expect(await refusal(proof(), { nonceStore: broken })).toBe('replay_check_unavailable');
  });
});
