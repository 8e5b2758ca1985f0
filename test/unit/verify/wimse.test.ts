import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  createVerifier,
  MemoryNonceStore,
  trustedKey,
  type FieldLine,
  type ReceivedRequest,
  type VerifierOptions,
} from '../../../src/verify/index.ts';
import { component, signatureBase } from '../../../src/wire/http-signature.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { CHAIN_ISSUER, clientIdAt, signedChain, TRUST_DOMAIN } from '../../support/delegation-chain.ts';
import {
  signedRequest,
  testKey,
  wit as makeWit,
  withHeader,
  type SignOptions,
} from '../../support/signed-request.ts';
import {
  nowSeconds,
  clock,
  agent,
  witIssuer,
  stranger,
  trust,
  body,
  AUD,
  hashOf,
} from '../../support/verifying-wimse.ts';

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
