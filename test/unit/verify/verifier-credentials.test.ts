import { describe, expect, it } from 'vitest';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { trustedKey } from '../../../src/verify/trusted-keys.ts';
import type { VerifierOptions } from '../../../src/verify/verifier.ts';
import { ATTESTATION_CLAIM } from '../../../src/wire/credential-claims.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { agentToken, testKey, wit, withHeader } from '../../support/signed-request.ts';
import {
  nowSeconds,
  clock,
  agent,
  provider,
  witIssuer,
  verifier,
  rfc9421,
  aauth,
  refusal,
} from '../../support/verifying-requests.ts';

describe('credentials', () => {
  const token = (options: Partial<Parameters<typeof agentToken>[2]> = {}, issuer = provider): string =>
    agentToken(issuer, agent, { nowSeconds, ...options });
  const withToken = (text: string): Promise<string | undefined> => refusal(aauth({}, text));

  it.each([
    ['from an issuer that is not pinned', { claims: { iss: 'https://evil.example' } }],
    ['from an issuer with another spelling', { claims: { iss: 'https://ap.example/' } }],
    ['naming an agent of another domain', { claims: { sub: 'aauth:planner@evil.example' } }],
    ['without sub', { claims: { sub: undefined } }],
    ['of a sub-agent without its parent', { claims: { sub: 'aauth:host1.a+w@ap.example' } }],
    [
      'of a sub-agent with another parent',
      { claims: { sub: 'aauth:host1.a+w@ap.example', parent_agent: 'aauth:host1.b@ap.example' } },
    ],
    [
      'of a sub-agent of another domain’s agent',
      { claims: { sub: 'aauth:host1.a+w@ap.example', parent_agent: 'aauth:host1.a@evil.example' } },
    ],
    [
      'of a sub-agent of a sub-agent',
      { claims: { sub: 'aauth:host1.a+w+x@ap.example', parent_agent: 'aauth:host1.a+w@ap.example' } },
    ],
    [
      'of a sub-agent without a name',
      { claims: { sub: 'aauth:host1.a+@ap.example', parent_agent: 'aauth:host1.a@ap.example' } },
    ],
    ['with a parent, of no sub-agent', { claims: { parent_agent: 'aauth:host1.planner@ap.example' } }],
    ['without jti', { claims: { jti: 7 } }],
    ['with another dwk', { claims: { dwk: 'aauth-person.json' } }],
    ['of another typ', { header: { typ: 'aa-auth+jwt' } }],
    ['of a typ that only looks alike', { header: { typ: 'aa-agent+jwt+jwt' } }],
    ['with a kid that is not known', { header: { kid: 'other' } }],
    ['whose header says alg none', { header: { alg: 'none' } }],
    ['whose header says another alg than its key’s', { header: { alg: 'EdDSA' } }],
    ['with a key in its header', { header: { jwk: provider.jwk } }],
    ['with jku in its header', { header: { jku: 'https://evil.example/jwks' } }],
    ['expired', { claims: { exp: nowSeconds - 5 } }],
    ['issued in the future', { claims: { iat: nowSeconds + 6 } }],
    ['not valid yet', { claims: { nbf: nowSeconds + 6 } }],
    ['living longer than a day', { claims: { iat: nowSeconds - 10, exp: nowSeconds + 86_400 } }],
    ['with times in fractions', { claims: { exp: nowSeconds + 0.5 } }],
    ['without cnf', { claims: { cnf: undefined } }],
    ['with a cnf of another kind', { claims: { cnf: { jkt: agent.thumbprint } } }],
    ['with a second key in cnf', { claims: { cnf: { jwk: agent.jwk, jwe: 'x' } } }],
    ['with a cnf.jkt of another key', { claims: { cnf: { jwk: agent.jwk, jkt: provider.thumbprint } } }],
    ['with a cnf.jwk without alg', { claims: { cnf: { jwk: { ...agent.jwk, alg: undefined } } } }],
    ['with a private key in cnf', { claims: { cnf: { jwk: { ...agent.jwk, d: 'AAAA' } } } }],
    ['with an unknown assurance', { claims: { [ATTESTATION_CLAIM]: { level: 'hw-super' } } }],
    [
      'with an unknown member in its attestation',
      { claims: { [ATTESTATION_CLAIM]: { level: 'hw-key', more: 1 } } },
    ],
  ])('an agent token %s: refused', async (_what, options) => {
    expect(await withToken(token(options))).toBe('verification_failed');
  });

  it('an agent token of a sub-agent that names its parent is accepted', async () => {
    const claims = { sub: 'aauth:host1.a+w@ap.example', parent_agent: 'aauth:host1.a@ap.example' };
    expect(await withToken(token({ claims }))).toBeUndefined();
  });

  it('an agent token by another key under the pinned kid: refused', async () => {
    const impostor = { ...testKey('Ed25519'), thumbprint: provider.thumbprint };
    expect(await withToken(token({}, impostor))).toBe('signature_invalid');
  });

  it('S1: a typ is compared in its normal form', async () => {
    expect(await withToken(token({ header: { typ: 'application/AA-Agent+JWT' } }))).toBeUndefined();
    expect(await withToken(token({ header: { typ: 'aa-agent+\u212aWT' } }))).toBe('malformed_request');
  });

  it('S14: a WIT key does not sign agent tokens, nor an agent token key WITs', async () => {
    expect(await withToken(agentToken(witIssuer, agent, { nowSeconds }))).toBe('verification_failed');
    const other = wit(provider, agent, { nowSeconds });
    expect(await refusal(rfc9421({ headers: [['Workload-Identity-Token', other]] }))).toBe(
      'verification_failed',
    );
  });

  it('S1: a WIT is no agent token', async () => {
    const keys = [trustedKey(witIssuer.jwk)];
    const credentials = {
      agentTokens: { issuers: [{ issuer: 'https://issuer.example', domain: 'ap.example', keys }] },
    };
    const text = wit(witIssuer, agent, { nowSeconds });
    expect(await refusal(aauth({}, text), { credentials, profiles: ['aauth'] })).toBe('verification_failed');
  });

  it.each([
    ['another trust domain', 'spiffe://evil.example/agent/host1/planner'],
    ['a trust domain that only begins alike', 'spiffe://td.example.evil/agent/a'],
    ['no path', 'spiffe://td.example'],
    ['an empty path', 'spiffe://td.example/'],
    ['a relative path', 'spiffe://td.example/agent/../admin'],
    ['another scheme', 'wimse://td.example/agent/a'],
  ])('a WIT whose sub has %s: refused, with no way back to the pinned key', async (_what, sub) => {
    const text = wit(witIssuer, agent, { nowSeconds, claims: { sub } });
    expect(await refusal(rfc9421({ headers: [['Workload-Identity-Token', text]] }))).toBe(
      'verification_failed',
    );
  });

  it('a WIT for another key: refused', async () => {
    const text = wit(witIssuer, testKey(), { nowSeconds });
    expect(await refusal(rfc9421({ headers: [['Workload-Identity-Token', text]] }))).toBe(
      'verification_failed',
    );
  });

  it.each([
    ['of scheme hwk', 'sig=hwk;kty="EC"'],
    ['of scheme jwt with more', 'sig=jwt;jwt="a.b.c";x=1'],
    ['with two members', 'sig=jwt;jwt="a.b.c", b=jwt;jwt="a.b.c"'],
    ['with a string for the scheme', 'sig="jwt";jwt="a.b.c"'],
    ['with an inner list', 'sig=(jwt);jwt="a.b.c"'],
  ])('Signature-Key %s: refused', async (_what, value) => {
    expect(await refusal(withHeader(aauth(), 'signature-key', value))).toBe('verification_failed');
  });

  it('every source is off unless configured', () => {
    expect(codeOf(() => verifier({ credentials: {} }))).toBe('configuration_invalid');
    expect(codeOf(() => verifier({ credentials: {}, profiles: ['rfc9421'] }))).toBe('configuration_invalid');
    expect(codeOf(() => verifier({ profiles: [] }))).toBe('configuration_invalid');
  });
});

describe('assurance', () => {
  const at = (
    level: 'hw-platform' | 'hw-key' | 'asserted' | 'software',
    options: Partial<VerifierOptions> = {},
  ) => refusal(aauth({}, agentToken(provider, agent, { nowSeconds, level })), options);

  it('software is refused unless accepted by name', async () => {
    expect(await at('software')).toBe('appraisal_denied');
    expect(await at('software', { acceptSoftware: true })).toBeUndefined();
    expect(await at('asserted')).toBeUndefined();
  });

  it('a token that claims nothing counts as software', async () => {
    const text = agentToken(provider, agent, { nowSeconds, claims: { [ATTESTATION_CLAIM]: undefined } });
    expect(await refusal(aauth({}, text))).toBe('appraisal_denied');
  });

  it('a token of a development policy counts as software, whatever level it names', async () => {
    const claims = { [ATTESTATION_CLAIM]: { level: 'asserted', developmentPolicy: 'sandbox' } };
    const request = (): ReceivedRequest => aauth({}, agentToken(provider, agent, { nowSeconds, claims }));
    expect(await refusal(request())).toBe('appraisal_denied');
    expect(await refusal(request(), { acceptSoftware: true })).toBeUndefined();
  });

  it('a minimum is held', async () => {
    expect(await at('asserted', { minimumAssurance: 'hw-key' })).toBe('appraisal_denied');
    expect(await at('hw-key', { minimumAssurance: 'hw-platform' })).toBe('appraisal_denied');
    expect(await at('hw-platform', { minimumAssurance: 'hw-platform' })).toBeUndefined();
  });
});

describe('S4: single use', () => {
  it('S4: the same request is accepted once', async () => {
    const { verify } = verifier();
    const request = rfc9421();
    await verify(request);
    expect(await codeOfAsync(() => verify(request))).toBe('replayed');
  });

  it('S4: of ten at the same time, one is accepted', async () => {
    const { verify } = verifier();
    const request = rfc9421();
    const codes = await Promise.all(Array.from({ length: 10 }, () => codeOfAsync(() => verify(request))));
    expect(codes.filter((code) => code === undefined)).toHaveLength(1);
    expect(codes.filter((code) => code === 'replayed')).toHaveLength(9);
  });

  it('S4: a refused request does not use up its nonce', async () => {
    const { verify } = verifier();
    const request = rfc9421();
    expect(await codeOfAsync(() => verify({ ...request, body: Buffer.from('x') }))).toBe(
      'verification_failed',
    );
    expect(await codeOfAsync(() => verify({ ...request, method: 'PUT' }))).toBe('signature_invalid');
    expect(await codeOfAsync(() => verify(request))).toBeUndefined();
  });

  it('S4: the other (r, n-s) form of a spent signature is refused as well', async () => {
    const { verify } = verifier();
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    let original: Uint8Array = new Uint8Array();
    const request = rfc9421({ encode: (octets) => (original = octets) });
    await verify(request);
    const s = BigInt(`0x${Buffer.from(original.subarray(32)).toString('hex')}`);
    const mirrored = Buffer.concat([
      original.subarray(0, 32),
      Buffer.from((order - s).toString(16).padStart(64, '0'), 'hex'),
    ]);
    const twin = withHeader(request, 'signature', `sig=:${mirrored.toString('base64')}:`);
    expect(await codeOfAsync(() => verify(twin))).toBe('replayed');
  });

  it.each([
    ['throws', () => Promise.reject(new Error('down')), 'replay_check_unavailable'],
    [
      'is full',
      () => new MemoryNonceStore({ maxEntries: 0, clock }).claim('a', 'b', nowSeconds),
      'replay_check_unavailable',
    ],
    ['answers undefined', () => Promise.resolve(undefined as unknown as boolean), 'replayed'],
    ['answers "OK"', () => Promise.resolve('OK' as unknown as boolean), 'replayed'],
  ])('S4: a store that %s fails closed', async (_what, claim, code) => {
    expect(await refusal(rfc9421(), { nonceStore: { claim } })).toBe(code);
  });
});
