import { createSign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { trustedKey } from '../../../src/verify/trusted-keys.ts';
import { createVerifier, type Verifier, type VerifierOptions } from '../../../src/verify/verifier.ts';
import { ALGORITHMS } from '../../../src/wire/algorithms.ts';
import { ATTESTATION_CLAIM } from '../../../src/wire/credential-claims.ts';
import { ecdsaConcatToDer } from '../../../src/wire/ecdsa-signature.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import {
  agentToken,
  signatureKeyField,
  signedRequest,
  testKey,
  wit,
  withHeader,
  type SignOptions,
} from '../../support/signed-request.ts';

const nowSeconds = 1_800_000_000;
const clock = (): number => nowSeconds * 1000;
const agent = testKey();
const provider = testKey('Ed25519');
const witIssuer = testKey();
const body = Buffer.from('{"amount":3000,"payee":"bob"}');
const json = ['Content-Type', 'application/json'] as const;

function verifier(options: Partial<VerifierOptions> = {}): Verifier {
  return createVerifier({
    origins: ['https://api.example'],
    profiles: ['rfc9421', 'aauth'],
    credentials: {
      agentTokens: {
        issuers: [{ issuer: 'https://ap.example', domain: 'ap.example', keys: [trustedKey(provider.jwk)] }],
      },
      wit: { trustDomain: 'td.example', keys: [trustedKey(witIssuer.jwk)] },
      pinnedKey: (keyid) =>
        keyid === agent.thumbprint
          ? { id: 'pinned-planner', jwk: agent.jwk, assurance: 'hw-key' }
          : undefined,
    },
    nonceStore: new MemoryNonceStore({ maxEntries: 100, clock }),
    clock,
    ...options,
  });
}

const rfc9421 = (options: Partial<SignOptions> = {}): ReceivedRequest =>
  signedRequest({ profile: 'rfc9421', key: agent, nowSeconds, body, headers: [json], ...options });

const aauth = (
  options: Partial<SignOptions> = {},
  token = agentToken(provider, agent, { nowSeconds }),
): ReceivedRequest =>
  signedRequest({
    profile: 'aauth',
    key: agent,
    nowSeconds,
    body,
    headers: [json, signatureKeyField(token)],
    ...options,
  });

const refusal = (
  request: ReceivedRequest,
  options: Partial<VerifierOptions> = {},
): Promise<string | undefined> => codeOfAsync(() => verifier(options).verify(request));

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

describe('S5: a verifier knows its own name', () => {
  const evil = rfc9421({ targetUri: 'https://evil.example/v1/pay?to=bob' });
  const toHost = (request: ReceivedRequest, host: string): ReceivedRequest =>
    withHeader(request, 'host', host);

  it('S5: a request signed for evil.example is refused when evil.example sends it on as it was', async () => {
    expect(await refusal(evil)).toBe('verification_failed');
  });

  it('S5: and with the Host of the victim', async () => {
    expect(await refusal(toHost(evil, 'api.example'))).toBe('signature_invalid');
  });

  it('S5: and with X-Forwarded-Host, Forwarded or X-Forwarded-Proto beside it', async () => {
    for (const more of [
      ['X-Forwarded-Host', 'evil.example'],
      ['Forwarded', 'host=evil.example;proto=https'],
      ['X-Forwarded-Proto', 'http'],
    ] as const) {
      const request = toHost(evil, 'api.example');
      expect(await refusal({ ...request, headers: [...request.headers, more] })).toBe('signature_invalid');
    }
  });

  it('S5: behind a proxy that ends TLS, the scheme is the configured one, not the connection’s', async () => {
    const http = rfc9421({ targetUri: 'http://api.example/v1/pay?to=bob' });
    expect(await refusal(http)).toBe('signature_invalid');
    expect(await refusal(rfc9421())).toBeUndefined();
  });

  it('S5: X-Forwarded-Host counts only from a trusted proxy, and only for an own origin', async () => {
    const behind = (request: ReceivedRequest, forwarded: string, remoteAddress: string): ReceivedRequest => ({
      ...request,
      headers: [...toHost(request, 'backend:8080').headers, ['X-Forwarded-Host', forwarded]],
      remoteAddress,
    });
    const trustedProxies = ['10.0.0.0/8', 'fd00::1'];
    expect(await refusal(behind(rfc9421(), 'api.example', '10.1.2.3'), { trustedProxies })).toBeUndefined();
    expect(
      await refusal(behind(rfc9421(), 'api.example', '::ffff:10.1.2.3'), { trustedProxies }),
    ).toBeUndefined();
    expect(await refusal(behind(rfc9421(), 'api.example', 'fd00::1'), { trustedProxies })).toBeUndefined();
    expect(await refusal(behind(rfc9421(), 'api.example', '192.0.2.1'), { trustedProxies })).toBe(
      'verification_failed',
    );
    expect(await refusal(behind(rfc9421(), 'api.example', '10.1.2.3'))).toBe('verification_failed');
    expect(await refusal(behind(evil, 'evil.example', '10.1.2.3'), { trustedProxies })).toBe(
      'verification_failed',
    );
    expect(await refusal(behind(evil, 'api.example', '10.1.2.3'), { trustedProxies })).toBe(
      'signature_invalid',
    );
    const twice = behind(rfc9421(), 'api.example', '10.1.2.3');
    expect(
      await refusal(
        { ...twice, headers: [...twice.headers, ['X-Forwarded-Host', 'api.example']] },
        { trustedProxies },
      ),
    ).toBe('verification_failed');
  });

  it.each([
    ['is missing', undefined],
    ['is another', 'other.example'],
    ['names the default port', 'api.example:443'],
    ['is in upper case', 'API.example'],
    ['ends in a dot', 'api.example.'],
    ['is two in one', 'api.example, evil.example'],
  ])('S5: a Host that %s is refused', async (_what, host) => {
    expect(await refusal(withHeader(rfc9421(), 'host', host))).toBe('verification_failed');
  });

  it('S5: a repeated Host is refused, even if both agree', async () => {
    const request = rfc9421();
    expect(await refusal({ ...request, headers: [...request.headers, ['host', 'api.example']] })).toBe(
      'verification_failed',
    );
  });

  it('S5: an absolute form that disagrees with Host or scheme is refused', async () => {
    for (const url of ['https://evil.example/v1/pay?to=bob', 'http://api.example/v1/pay?to=bob']) {
      expect(await refusal({ ...rfc9421(), url })).toBe('verification_failed');
    }
  });

  it.each(['*', 'api.example:443', '//evil.example/x', '/a/../v1/pay', '/v1/%70ay', ''])(
    'S7: the request target %j is refused',
    async (url) => {
      expect(await refusal({ ...rfc9421(), url })).toBe('invalid_target_uri');
    },
  );

  it('S5: origins have no default, are canonical, and differ in more than the scheme', () => {
    for (const origins of [
      [],
      ['https://api.example/'],
      ['https://API.example'],
      ['https://api.example:443'],
      ['api.example'],
      ['https://api.example/v1'],
      ['https://api.example', 'http://api.example'],
    ]) {
      expect(codeOf(() => verifier({ origins }))).toBe('configuration_invalid');
    }
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
