import { describe, expect, it } from 'vitest';
import {
  MemoryNonceStore,
  trustedKey,
  verifyDelegationChain,
  verifyWorkloadProof,
  type FieldLine,
  type WorkloadProofExpectations,
} from '../../../src/verify/index.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { parseTargetUri } from '../../../src/wire/target-uri.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { CHAIN_ISSUER, signedChain, TRUST_DOMAIN } from '../../support/delegation-chain.ts';
import { signJwt, testKey, wit as makeWit } from '../../support/signed-request.ts';
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
