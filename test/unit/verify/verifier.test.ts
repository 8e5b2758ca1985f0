import { createSign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { ALGORITHMS } from '../../../src/wire/algorithms.ts';
import { ecdsaConcatToDer } from '../../../src/wire/ecdsa-signature.ts';
import { signedRequest, testKey, wit, withHeader } from '../../support/signed-request.ts';
import {
  nowSeconds,
  agent,
  provider,
  witIssuer,
  body,
  json,
  verifier,
  rfc9421,
  aauth,
  refusal,
} from '../../support/verifying-requests.ts';

describe('a good request', () => {
  it('is accepted with a pinned key', async () => {
    const verified = await verifier().verify(rfc9421());
    expect(verified).toMatchObject({
      agent: { id: 'pinned-planner', thumbprint: agent.thumbprint, credential: 'pinned-key', claims: {} },
      profile: 'rfc9421',
      created: nowSeconds,
      coveredComponents: ['@method', '@target-uri', 'content-digest', 'content-type'],
    });
    expect(verified.target.canonical).toBe('https://api.example/v1/pay?to=bob');
  });

  it('is accepted with a WIT', async () => {
    const token = wit(witIssuer, agent, { nowSeconds });
    const verified = await verifier().verify(rfc9421({ headers: [['Workload-Identity-Token', token]] }));
    expect(verified.agent).toMatchObject({
      id: 'spiffe://td.example/agent/host1/planner',
      credential: 'wit',
      assurance: 'hw-key',
    });
    expect(verified.coveredComponents).toContain('workload-identity-token');
  });

  it('is accepted with an AAuth agent token', async () => {
    const verified = await verifier().verify(aauth());
    expect(verified.agent).toMatchObject({ id: 'aauth:host1.planner@ap.example', credential: 'agent-token' });
    expect(verified.profile).toBe('aauth');
  });

  it.each(ALGORITHMS)('is accepted from a key of %s', async (algorithm) => {
    const key = testKey(algorithm);
    const pinnedKey = () => ({ id: 'x', jwk: key.jwk, assurance: 'hw-key' as const });
    const verified = await verifier({ credentials: { pinnedKey }, profiles: ['rfc9421'] }).verify(
      rfc9421({ key }),
    );
    expect(verified.agent.thumbprint).toBe(key.thumbprint);
  });

  it('is accepted without content, and with content that is empty and digested', async () => {
    const { verify } = verifier();
    const plain = signedRequest({ profile: 'rfc9421', key: agent, nowSeconds, method: 'GET' });
    expect((await verify(plain)).coveredComponents).toEqual(['@method', '@target-uri']);
    expect((await verify(rfc9421({ body: Buffer.alloc(0) }))).coveredComponents).toContain('content-digest');
  });

  it('may cover more, name its own algorithm, and carry other signatures', async () => {
    const request = rfc9421({
      add: ['@authority', 'x-extra', '@query'],
      headers: [json, ['X-Extra', 'a']],
      parameters: { alg: 'ecdsa-p256-sha256', expires: nowSeconds + 30 },
    });
    const input = request.headers.find(([name]) => name === 'Signature-Input')?.[1] ?? '';
    const signature = request.headers.find(([name]) => name === 'Signature')?.[1] ?? '';
    const more = withHeader(
      withHeader(request, 'signature-input', `proxy=();created=1, ${input}`),
      'signature',
      `proxy=:AAAA:, ${signature}`,
    );
    expect((await verifier().verify(more)).agent.id).toBe('pinned-planner');
  });

  it('may come in absolute form', async () => {
    expect(await refusal({ ...rfc9421(), url: 'https://api.example/v1/pay?to=bob' })).toBeUndefined();
  });
});

describe('an altered request', () => {
  it.each([
    ['method', (r: ReceivedRequest) => ({ ...r, method: 'DELETE' }), 'signature_invalid'],
    ['case of the method', (r: ReceivedRequest) => ({ ...r, method: 'post' }), 'signature_invalid'],
    ['path', (r: ReceivedRequest) => ({ ...r, url: '/v1/pax?to=bob' }), 'signature_invalid'],
    ['query', (r: ReceivedRequest) => ({ ...r, url: '/v1/pay?to=eve' }), 'signature_invalid'],
    ['query removed', (r: ReceivedRequest) => ({ ...r, url: '/v1/pay' }), 'signature_invalid'],
    ['query added to', (r: ReceivedRequest) => ({ ...r, url: '/v1/pay?to=bob&n=2' }), 'signature_invalid'],
    ['body', (r: ReceivedRequest) => ({ ...r, body: Buffer.from('{"amount":9000}') }), 'verification_failed'],
    ['body cut', (r: ReceivedRequest) => ({ ...r, body: body.subarray(1) }), 'verification_failed'],
    ['body removed', (r: ReceivedRequest) => ({ ...r, body: undefined }), 'verification_failed'],
    [
      'content-type',
      (r: ReceivedRequest) => withHeader(r, 'content-type', 'text/plain'),
      'signature_invalid',
    ],
    [
      'content-type removed',
      (r: ReceivedRequest) => withHeader(r, 'content-type', undefined),
      'invalid_header',
    ],
    [
      'content-encoding added',
      (r: ReceivedRequest) => ({ ...r, headers: [...r.headers, ['Content-Encoding', 'gzip'] as const] }),
      'verification_failed',
    ],
    [
      'authorization added',
      (r: ReceivedRequest) => ({ ...r, headers: [...r.headers, ['Authorization', 'Bearer x'] as const] }),
      'verification_failed',
    ],
    [
      'a covered header repeated',
      (r: ReceivedRequest) => ({ ...r, headers: [...r.headers, ['content-type', 'text/plain'] as const] }),
      'verification_failed',
    ],
    [
      'a method override added',
      (r: ReceivedRequest) => ({
        ...r,
        headers: [...r.headers, ['X-HTTP-Method-Override', 'DELETE'] as const],
      }),
      'verification_failed',
    ],
    [
      'a method override added as CGI reads it',
      (r: ReceivedRequest) => ({
        ...r,
        headers: [...r.headers, ['X_HTTP_METHOD_OVERRIDE', 'DELETE'] as const],
      }),
      'verification_failed',
    ],
    [
      'digest and body',
      (r: ReceivedRequest) => ({
        ...withHeader(r, 'content-digest', 'sha-256=:AAAA:'),
        body: Buffer.from('x'),
      }),
      'signature_invalid',
    ],
  ] as const)('S7: %s', async (_what, alter, code) => {
    expect(await refusal(alter(rfc9421()))).toBe(code);
  });

  it('S7: a body on a request signed without one', async () => {
    const plain = signedRequest({ profile: 'rfc9421', key: agent, nowSeconds });
    expect(await refusal({ ...plain, body })).toBe('verification_failed');
  });

  it.each(['@method', '@target-uri', 'content-digest', 'content-type'])(
    'S5: %s not covered (rfc9421)',
    async (name) => {
      expect(await refusal(rfc9421({ drop: [name] }))).toBe('verification_failed');
    },
  );

  it.each([
    '@method',
    '@authority',
    '@path',
    '@target-uri',
    'signature-key',
    'content-digest',
    'content-type',
  ])('S5: %s not covered (aauth)', async (name) => {
    expect(await refusal(aauth({ drop: [name] }))).toBe('verification_failed');
  });

  it.each([
    'workload-identity-token',
    'authorization',
    'idempotency-key',
    'agentkeyd-delegation',
    'content-encoding',
  ])('S7: %s present but not covered', async (name) => {
    const value = name === 'workload-identity-token' ? wit(witIssuer, agent, { nowSeconds }) : 'x';
    expect(await refusal(rfc9421({ headers: [[name, value]], drop: [name] }))).toBe('verification_failed');
    expect(await refusal(rfc9421({ headers: [[name, value]] }))).toBeUndefined();
  });

  it('S5: a component with a parameter does not count as the component', async () => {
    const request = rfc9421();
    const input = (request.headers.find(([name]) => name === 'Signature-Input')?.[1] ?? '').replace(
      '"@method"',
      '"@method";req',
    );
    expect(await refusal(withHeader(request, 'signature-input', input))).toBe('verification_failed');
  });
});

describe('parameters', () => {
  it.each([
    ['no created', { created: undefined }],
    ['no nonce', { nonce: undefined }],
    ['no keyid', { keyid: undefined }],
    ['a nonce that is short', { nonce: 'abc' }],
    ['a nonce that is long', { nonce: 'a'.repeat(257) }],
    ['a nonce that is a number', { nonce: 12345678901 }],
    ['a created that is text', { created: '1800000000' }],
    ['a negative created', { created: -1 }],
    ['S4: created in the future', { created: nowSeconds + 6 }],
    ['S4: created a week ahead', { created: nowSeconds + 604_800 }],
    ['S4: created too long ago', { created: nowSeconds - 61 }],
    ['S4: expires passed', { created: nowSeconds - 20, expires: nowSeconds - 5 }],
    ['an unknown parameter', { 'x-more': 'a' }],
    ['the algorithm of another key', { alg: 'ed25519' }],
    ['an algorithm that does not exist', { alg: 'none' }],
    ['a tag for another use', { tag: 'agentkey-host' }],
    ['a keyid that is not known', { keyid: 'A'.repeat(43) }],
  ])('%s: refused', async (_what, parameters) => {
    expect(await refusal(rfc9421({ parameters }))).toBe('verification_failed');
  });

  it.each([
    ['created within the skew', { created: nowSeconds + 5 }],
    ['created at the end of the window', { created: nowSeconds - 60 }],
    ['expires just ahead', { expires: nowSeconds + 1 }],
  ])('%s: accepted', async (_what, parameters) => {
    expect(await refusal(rfc9421({ parameters }))).toBeUndefined();
  });

  it('a tag is accepted where configuration names it', async () => {
    expect(
      await refusal(rfc9421({ parameters: { tag: 'shop' } }), { acceptedTags: ['shop'] }),
    ).toBeUndefined();
  });

  it('aauth: an alg parameter is refused, a wrong keyid too', async () => {
    expect(await refusal(aauth({ parameters: { alg: 'ecdsa-p256-sha256' } }))).toBe('verification_failed');
    expect(await refusal(aauth({ parameters: { keyid: provider.thumbprint } }))).toBe('verification_failed');
  });
});

describe('signatures', () => {
  it('by another key are refused', async () => {
    const thief = testKey();
    expect(await refusal(rfc9421({ key: thief, parameters: { keyid: agent.thumbprint } }))).toBe(
      'signature_invalid',
    );
    expect(await refusal(aauth({ key: thief }))).toBe('signature_invalid');
  });

  it('in DER are refused', async () => {
    expect(await refusal(rfc9421({ encode: (octets) => ecdsaConcatToDer(octets, 32) }))).toBe(
      'signature_invalid',
    );
    const der = createSign('sha256').update('x').sign(agent.privateKey);
    expect(await refusal(rfc9421({ encode: () => der }))).toBe('signature_invalid');
  });

  it.each([
    ['cut', (octets: Uint8Array) => octets.subarray(1)],
    ['with one more octet', (octets: Uint8Array) => Buffer.concat([octets, Buffer.from([0])])],
    ['of zeros', () => new Uint8Array(64)],
    ['empty', () => new Uint8Array(0)],
  ])('%s are refused', async (_what, encode) => {
    expect(await refusal(rfc9421({ encode }))).toBe('signature_invalid');
  });

  it.each(['signature', 'signature-input', 'signature-key'])('are refused without %s', async (name) => {
    expect(await refusal(withHeader(aauth(), name, undefined), { profiles: ['aauth'] })).toBe(
      'verification_failed',
    );
  });

  it('are refused where Signature-Input is repeated with another list under the same label', async () => {
    const request = rfc9421();
    const headers = [...request.headers, ['Signature-Input', 'sig=();created=1'] as const];
    expect(await refusal({ ...request, headers })).toBe('invalid_header');
  });
});
