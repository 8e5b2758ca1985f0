import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  createVerifier,
  MemoryNonceStore,
  trustedKey,
  verifyDelegationChain,
  verifyWorkloadProof,
  type FieldLine,
  type ReceivedRequest,
  type VerifierOptions,
  type WorkloadProofExpectations,
} from '../../../src/verify/index.ts';
import { component, signatureBase } from '../../../src/wire/http-signature.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import {
  CHAIN_ISSUER,
  CHAIN_NOW,
  clientIdAt,
  signedChain,
  TRUST_DOMAIN,
} from '../../support/delegation-chain.ts';
import {
  signedRequest,
  signJwt,
  testKey,
  wit as makeWit,
  withHeader,
  type SignOptions,
} from '../../support/signed-request.ts';

const nowSeconds = CHAIN_NOW;
const clock = (): number => nowSeconds * 1000;
const agent = testKey();
const witIssuer = testKey();
const stranger = testKey();
const trust = { trustDomain: TRUST_DOMAIN, keys: [trustedKey(witIssuer.jwk)] };
const body = Buffer.from('{"amount":3000}');
const AUD = 'https://api.example/v1/pay';
const hashOf = (text: string): string => createHash('sha256').update(text).digest('base64url');

const vectors = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', '..', 'vectors', 'wimse.json'), 'utf8'),
) as {
  wit: string;
  wpt: string;
  access_token: string;
  http_sig: { request: string; signature_base: string };
};

describe('the drafts’ examples', () => {
  it('the signature base is ours', () => {
    const { request, signature_base: expected } = vectors.http_sig;
    const headers = request
      .trim()
      .split('\n')
      .slice(1)
      .map((line): FieldLine => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]);
    const target = parseTargetUri('https://svcb.example.com/gimme-ice-cream?flavor=vanilla');
    const base = signatureBase(
      ['@method', '@request-target', 'workload-identity-token'].map((name) => component(name)),
      [
        ['created', 1785155797],
        ['expires', 1785156097],
        ['nonce', 'abcd1111'],
        ['tag', 'wimse-workload-to-workload'],
        ['wimse-aud', 'https://svcb.example.com/gimme-ice-cream'],
        ['wimse-sign-response', true],
      ],
      { method: 'GET', target, headers },
    );
    expect(base).toBe(expected);
  });

  it('the hashes of a WPT are ours', () => {
    const claims = JSON.parse(Buffer.from(vectors.wpt.split('.')[1] ?? '', 'base64url').toString()) as object;
    expect(claims).toMatchObject({ ath: hashOf(vectors.access_token), wth: hashOf(vectors.wit) });
  });
});

describe('the profile wimse', () => {
  const verifier = (options: Partial<VerifierOptions> = {}) =>
    createVerifier({
      origins: ['https://api.example', 'https://other.example'],
      profiles: ['wimse'],
      credentials: { wit: trust },
      nonceStore: new MemoryNonceStore({ maxEntries: 100, clock }),
      clock,
      ...options,
    });
  const parameters = {
    created: nowSeconds,
    expires: nowSeconds + 60,
    tag: 'wimse-workload-to-workload',
    'wimse-aud': AUD,
  };
  const token = makeWit(witIssuer, agent, { nowSeconds });
  const request = (
    options: Partial<SignOptions> = {},
    more: SignOptions['parameters'] = {},
  ): ReceivedRequest =>
    signedRequest({
      profile: 'wimse',
      key: agent,
      nowSeconds,
      body,
      headers: [
        ['Content-Type', 'application/json'],
        ['Workload-Identity-Token', token],
      ],
      ...options,
      parameters: { ...parameters, ...more },
    });
  const refusal = (received: ReceivedRequest, options: Partial<VerifierOptions> = {}) =>
    codeOfAsync(() => verifier(options).verify(received));

  it('is accepted, beside other profiles too, and once', async () => {
    const { verify } = verifier({ profiles: ['rfc9421', 'wimse'] });
    const good = request();
    expect(await verify(good)).toMatchObject({ profile: 'wimse', agent: { credential: 'wit' } });
    expect(await codeOfAsync(() => verify(good))).toBe('replayed');
  });

  it.each<readonly [string, SignOptions['parameters']]>([
    ['no expires', { expires: undefined }],
    ['no tag', { tag: undefined }],
    ['another tag', { tag: 'web' }],
    ['no wimse-aud', { 'wimse-aud': undefined }],
    ['the wimse-aud of another path', { 'wimse-aud': 'https://api.example/v1/other' }],
    ['the wimse-aud of another server', { 'wimse-aud': 'https://other.example/v1/pay' }],
    ['a wimse-aud with its query', { 'wimse-aud': `${AUD}?to=bob` }],
    ['a keyid', { keyid: agent.thumbprint }],
    ['an alg', { alg: 'ecdsa-p256-sha256' }],
    ['a demand to sign the response', { 'wimse-sign-response': true }],
    ['an expires that has passed', { expires: nowSeconds - 5 }],
    ['an old created', { created: nowSeconds - 61 }],
  ])('is refused with %s', async (_, more) => {
    expect(await refusal(request())).toBeUndefined();
    expect(await refusal(request({}, more))).toBe('verification_failed');
  });

  it('is refused where it does not cover what the draft lists', async () => {
    const headers: SignOptions['headers'] = [
      ['Content-Type', 'application/json'],
      ['Workload-Identity-Token', token],
      ['Txn-Token', 't'],
      ['Authorization', 'Bearer x'],
    ];
    expect(await refusal(request({ headers }))).toBeUndefined();
    for (const name of [
      '@method',
      '@request-target',
      'content-digest',
      'content-type',
      'workload-identity-token',
      'txn-token',
      'authorization',
    ]) {
      expect(await refusal(request({ headers, drop: [name] })), name).toBe('verification_failed');
    }
  });

  it('is refused without a WIT, with two, with another’s, or by another key', async () => {
    const other = makeWit(witIssuer, stranger, { nowSeconds });
    expect(await refusal(request({ headers: [] }))).toBe('verification_failed');
    expect(await refusal(request({ headers: [['Workload-Identity-Token', other]] }))).toBe(
      'signature_invalid',
    );
    expect(await refusal(request({ key: stranger }))).toBe('signature_invalid');
    const twice = {
      ...request(),
      headers: [...request().headers, ['workload-identity-token', token] as const],
    };
    expect(await refusal(twice)).not.toBeUndefined();
    expect(await refusal(withHeader(request(), 'workload-identity-token', other))).toBe('signature_invalid');
    const forged = makeWit(stranger, agent, { nowSeconds, header: { kid: witIssuer.thumbprint } });
    expect(await refusal(request({ headers: [['Workload-Identity-Token', forged]] }))).toBe(
      'signature_invalid',
    );
  });

  it('S5: is refused when it is sent on to another server, another target, or with another body', async () => {
    expect(await refusal(withHeader(request(), 'host', 'other.example'))).toBe('verification_failed');
    expect(await refusal({ ...request(), url: '/v1/pay?to=eve' })).toBe('signature_invalid');
    expect(await refusal({ ...request(), body: Buffer.from('{}') })).toBe('verification_failed');
  });

  it('is not taken where it is not configured, and needs a trust domain', async () => {
    const pinned = { pinnedKey: () => ({ id: 'x', jwk: agent.jwk, assurance: 'hw-key' as const }) };
    expect(await refusal(request(), { profiles: ['rfc9421'], credentials: pinned })).toBe(
      'verification_failed',
    );
    expect(await refusal(request(), { credentials: {} })).toBe('configuration_invalid');
    const plain = signedRequest({ profile: 'rfc9421', key: agent, nowSeconds });
    expect(await refusal(plain)).toBe('verification_failed');
  });

  it('carries chains of delegation, whose target it binds by wimse-aud', async () => {
    const grantKey = testKey();
    const delegation = {
      roots: [
        {
          issuer: CHAIN_ISSUER,
          trustDomain: TRUST_DOMAIN,
          keys: [trustedKey(grantKey.jwk)],
          acceptDevelopment: true as const,
        },
      ],
    };
    const chained = (max: string): ReceivedRequest => {
      const link = { constraints: [{ key: 'body:/amount', max }] };
      const { tokens } = signedChain([{}, link], { grantKey, keys: [stranger, agent] });
      const subject = { claims: { sub: clientIdAt(1) } };
      return request({
        headers: [
          ['Content-Type', 'application/json'],
          ['Workload-Identity-Token', makeWit(witIssuer, agent, { nowSeconds, ...subject })],
          ['Agentkeyd-Delegation', tokens.join('~')],
        ],
      });
    };
    expect(await refusal(chained('3000'), { delegation })).toBeUndefined();
    expect(await refusal(chained('2999.99'), { delegation })).toBe('authority_exceeded');
  });
});

describe('a Workload Proof Token', () => {
  const own = makeWit(witIssuer, agent, { nowSeconds });
  const good = { aud: AUD, exp: nowSeconds + 60, jti: 'j1', wth: hashOf(own) };
  const proof = (claims: object = {}, header: object = {}, key = agent): string =>
    signJwt(key, { typ: 'wpt+jwt', ...header }, { ...good, ...claims });
  const verify = (
    given: string,
    more: readonly FieldLine[] = [],
    options: Partial<WorkloadProofExpectations> = {},
  ) =>
    verifyWorkloadProof({
      headers: [['Workload-Identity-Token', own], ['Workload-Proof-Token', given], ...more],
      target: parseTargetUri(`${AUD}?to=bob`),
      wit: trust,
      nonceStore: new MemoryNonceStore({ maxEntries: 100, clock }),
      clock,
      ...options,
    });
  const refusal = (
    given: string,
    more: readonly FieldLine[] = [],
    options: Partial<WorkloadProofExpectations> = {},
  ) => codeOfAsync(() => verify(given, more, options));

  it('is accepted with its WIT, for any query', async () => {
    expect(await verify(proof())).toMatchObject({
      jti: 'j1',
      otherTokens: {},
      workload: { thumbprint: agent.thumbprint },
    });
  });

  it.each<readonly [string, object]>([
    ['another path', { aud: 'https://api.example/v1/other' }],
    ['another server', { aud: 'https://other.example/v1/pay' }],
    ['its query', { aud: `${AUD}?to=bob` }],
    ['a list for aud', { aud: [AUD] }],
    ['no aud', { aud: undefined }],
    ['no exp', { exp: undefined }],
    ['an exp that has passed', { exp: nowSeconds - 5 }],
    ['an exp far ahead', { exp: nowSeconds + 306 }],
    ['a fractional exp', { exp: nowSeconds + 0.5 }],
    ['no jti', { jti: undefined }],
    ['an empty jti', { jti: '' }],
    ['a long jti', { jti: 'x'.repeat(257) }],
    ['no wth', { wth: undefined }],
    ['the hash of another WIT', { wth: hashOf('x') }],
    ['an ath of no token', { ath: hashOf('x') }],
    ['a tth of no token', { tth: hashOf('x') }],
    ['an oth of no token', { oth: { 'x-token': hashOf('x') } }],
    ['an oth that is a list', { oth: [] }],
    ['an oth that is not of hashes', { oth: { 'x-token': 1 } }],
    ['an oth in upper case', { oth: { 'X-Token': hashOf('x') } }],
  ])('is refused with %s', async (_, claims) => {
    expect(await refusal(proof(claims))).toBe('verification_failed');
  });

  it('is refused with another type, algorithm or parameter, and by another key', async () => {
    for (const header of [
      { typ: 'jwt' },
      { typ: 'dpop+jwt' },
      { alg: 'ES384' },
      { alg: 'none' },
      { jwk: agent.jwk },
    ]) {
      expect(await refusal(proof({}, header)), JSON.stringify(header)).toBe('verification_failed');
    }
    expect(await refusal(proof({}, {}, stranger))).toBe('signature_invalid');
    const swapped: readonly FieldLine[] = [
      ['Workload-Identity-Token', makeWit(witIssuer, stranger, { nowSeconds })],
      ['Workload-Proof-Token', proof()],
    ];
    expect(await refusal(proof(), [], { headers: swapped })).toBe('signature_invalid');
  });

  it('is refused cut at any offset, twice, or not there', async () => {
    const whole = proof();
    for (let length = 0; length < whole.length; length += 7) {
      expect(await refusal(whole.slice(0, length)), `cut at ${length}`).not.toBeUndefined();
    }
    expect(await refusal(whole, [['workload-proof-token', whole]])).toBe('verification_failed');
    expect(await refusal(whole, [], { headers: [['Workload-Identity-Token', own]] })).toBe(
      'verification_failed',
    );
    expect(await refusal(whole, [], { headers: [['Workload-Proof-Token', whole]] })).toBe(
      'verification_failed',
    );
  });

  it('binds every token that is in the request, and no other may be', async () => {
    const bearer: FieldLine = ['Authorization', 'Bearer  access'];
    expect(await refusal(proof({ ath: hashOf('access') }), [bearer])).toBeUndefined();
    expect(await refusal(proof(), [bearer])).toBe('verification_failed');
    expect(await refusal(proof({ ath: hashOf('other') }), [bearer])).toBe('verification_failed');
    const txn: FieldLine = ['Txn-Token', 'txn'];
    expect(await refusal(proof({ tth: hashOf('txn') }), [txn])).toBeUndefined();
    expect(await refusal(proof(), [txn])).toBe('verification_failed');
    const user: FieldLine = ['X-User', ' u '];
    const verified = await verify(proof({ oth: { 'x-user': hashOf('u') } }), [user]);
    expect(verified.otherTokens).toEqual({ 'x-user': hashOf('u') });
    expect(await refusal(proof({ oth: { 'x-user': hashOf('v') } }), [user])).toBe('verification_failed');
    expect(await refusal(proof({ oth: { 'x-user': hashOf('u') } }), [user, user])).toBe(
      'verification_failed',
    );
  });

  it('is spent once, in a space of its own', async () => {
    const nonceStore = new MemoryNonceStore({ maxEntries: 10, clock });
    await nonceStore.claim(agent.thumbprint, 'j1', nowSeconds + 100);
    expect(await refusal(proof(), [], { nonceStore })).toBeUndefined();
    expect(await refusal(proof({ exp: nowSeconds + 50 }), [], { nonceStore })).toBe('replayed');
  });

  it('S3: proves possession of a chain that it hashes; what the chain reads of method or body it can not show', async () => {
    const grantKey = testKey();
    const roots = [
      {
        issuer: CHAIN_ISSUER,
        trustDomain: TRUST_DOMAIN,
        keys: [trustedKey(grantKey.jwk)],
        acceptDevelopment: true as const,
      },
    ];
    const step = async (
      constraints: Parameters<typeof signedChain>[0][number]['constraints'],
      hashed = true,
    ) => {
      const { tokens } = signedChain([{}, { constraints: constraints ?? [] }], {
        grantKey,
        keys: [stranger, agent],
      });
      const chain = tokens.join('~');
      const field: FieldLine = ['Agentkeyd-Delegation', chain];
      const claims = hashed ? { oth: { 'agentkeyd-delegation': hashOf(chain) } } : {};
      const request = { method: 'POST', target: parseTargetUri(`${AUD}?to=bob`), headers: [field], body };
      try {
        const { otherTokens, workload } = await verify(proof(claims), hashed ? [field] : []);
        const { thumbprint } = workload;
        await verifyDelegationChain(
          chain,
          { ...request, proof: { kind: 'wpt', thumbprint, otherTokens } },
          { roots },
          { nowSeconds, clockSkewSeconds: 5 },
        );
        return 'accepted';
      } catch (thrown) {
        if (thrown instanceof KeydError) return thrown.message;
        throw thrown;
      }
    };
    expect(await step([{ key: 'path', prefix: '/v1' }])).toBe('accepted');
    expect(await step([], false)).toContain('step 6');
    expect(await step([{ key: 'path', prefix: '/v2' }])).toContain('step 8');
    expect(await step([{ key: 'method', in: ['POST'] }])).toContain('step 8');
    expect(await step([{ key: 'query:to', equals: 'bob' }])).toContain('step 8');
    expect(await step([{ key: 'body:/amount', max: '3000' }])).toContain('step 8');
    expect(await refusal(proof(), [['Agentkeyd-Delegation', 'x']])).toBe('verification_failed');
  });
});

describe('configuration', () => {
  it('of the profile without a WIT trust domain is refused', () => {
    const make = () =>
      createVerifier({
        origins: ['https://api.example'],
        profiles: ['wimse'],
        credentials: {},
        nonceStore: new MemoryNonceStore({ maxEntries: 1 }),
      });
    expect(codeOf(make)).toBe('configuration_invalid');
  });
});
