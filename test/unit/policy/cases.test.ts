/** Cases of policies: judged as the daemon would judge them, and told apart where they do not come out. */
import { describe, expect, it } from 'vitest';
import { casePolicyRequest, mergeGiven } from '../../../src/policy/cases/case-policy-request.ts';
import type { Given } from '../../../src/policy/cases/case-shape.ts';
import { judgeCase } from '../../../src/policy/cases/judge-case.ts';
import type { PolicyCase } from '../../../src/policy/cases/read-cases.ts';
import type { PolicyRequest } from '../../../src/policy/verdict.ts';
import { toJson } from '../../../src/wire/json-octets.ts';
import { codeOf } from '../../support/code-of.ts';
import {
  csr,
  dpop,
  httpMessage,
  jwt,
  policies,
  raw,
  shipped,
  THURSDAY,
} from '../../support/policy-request.ts';

const given = (request: Readonly<Record<string, unknown>>, more: Given = {}): Given => ({
  now: THURSDAY,
  caller: { uid: 1000 },
  agent: { name: 'payments' },
  request,
  ...more,
});

/** What the engine reads of a request, without what the daemon draws by lot or knows of its own host. */
function read({ parameters, binds }: PolicyRequest): unknown {
  const { claims, uris, ...rest } = parameters as unknown as Record<string, unknown>;
  return toJson({
    ...rest,
    ...(claims === undefined ? {} : { claims: Object.keys(claims as object).toSorted() }),
    ...(uris === undefined ? {} : { uris: (uris as readonly string[]).length }),
    binds: [...(binds ?? [])].toSorted(),
  });
}

describe('a case is the request that the daemon would judge', () => {
  const body = '{"amount":1}';
  const message = {
    method: 'POST',
    targetUri: 'https://api.example:8443/a/b?c=d',
    headers: [
      ['Content-Type', 'application/JSON; charset=utf-8'],
      ['X-Tenant', ' a '],
    ],
    components: ['x-tenant'],
    tag: 'app',
    nonce: 'challenge',
    intent: { purpose: 'invoice', disclose: true },
  } as const;

  it.each<[string, Readonly<Record<string, unknown>>, PolicyRequest]>([
    ['a message', { operation: 'http-message', ...message, body }, httpMessage({ ...message, body })],
    [
      'a message without content',
      { operation: 'http-message', method: 'GET', targetUri: 'https://a.example/' },
      httpMessage({ targetUri: 'https://a.example/' }),
    ],
    [
      'a digest',
      {
        operation: 'http-message',
        method: 'POST',
        targetUri: 'https://a.example/',
        headers: [['content-digest', `sha-256=:${'A'.repeat(43)}=:`]],
      },
      httpMessage({
        method: 'POST',
        targetUri: 'https://a.example/',
        headers: [['content-digest', `sha-256=:${'A'.repeat(43)}=:`]],
      }),
    ],
    [
      'a DPoP proof',
      { operation: 'dpop', htm: 'GET', htu: 'https://a.example/x', ath: 'A'.repeat(43) },
      dpop({ htm: 'GET', htu: 'https://a.example/x', ath: 'A'.repeat(43) }),
    ],
    [
      'a JWT',
      { operation: 'jwt', typ: 'Client-Authentication+JWT', claims: { aud: ['https://a.example'], a: 1 } },
      jwt({ aud: ['https://a.example'], a: 1 }),
    ],
    ['a CSR', { operation: 'csr', sans: { dns: ['a.example'] } }, csr({ sans: { dns: ['a.example'] } })],
    ['raw octets', { operation: 'raw', message: 'x' }, raw('x')],
  ])('%s', (_what, request, drafted) => {
    expect(read(casePolicyRequest(given(request)))).toEqual(read(drafted));
  });

  it('ends when the proof would (S4)', () => {
    const ends = (request: Readonly<Record<string, unknown>>): number | undefined =>
      casePolicyRequest(given(request)).endsAtMs;
    expect(ends({ operation: 'http-message', method: 'GET', targetUri: 'https://a.example/' })).toBe(
      THURSDAY + 60_000,
    );
    expect(ends({ operation: 'jwt', typ: 'a+jwt', claims: {} })).toBe(THURSDAY + 300_000);
    expect(ends({ operation: 'jwt', typ: 'a+jwt', claims: { exp: THURSDAY / 1000 + 10 } })).toBe(
      THURSDAY + 10_000,
    );
    expect(ends({ operation: 'delegate', name: 'payments+a', expiresIn: 7200 })).toBe(THURSDAY + 3_600_000);
    expect(ends({ operation: 'dpop', htm: 'GET', htu: 'https://a.example/' })).toBeUndefined();
  });

  it('carries every fact that a policy may read', () => {
    const facts = policies(`@id("all") permit (principal, action == Action::"use", resource) when {
      context.attestation.status == "good" && context.attestation has level && context.attestation.level == "hw-key" &&
      context has authority && context.authority.principal == "alice" && context.authority.depth == 1 &&
      context.authority.chain.contains("payments") && context.authority.expiresInSeconds == 60 &&
      context.usage.lastHour == 7 && !context.usage.firstUseOfOrigin &&
      context.budgets.hasTag("USD.2") && context.budgets.getTag("USD.2") == 300 &&
      principal.gid == 5 && principal.groups.contains(7) && principal.ingress == "agent" &&
      principal has ingressAgent && principal.ingressAgent == "payments" &&
      principal has unit && principal.unit == "a.service" && principal.roles.contains("approve") &&
      resource.ownerUid == 9 && resource.backend == "pkcs11" && resource.algorithm == "Ed25519"
    };`);
    const situation: Given = {
      caller: {
        uid: 1000,
        gid: 5,
        groups: [7],
        ingress: 'agent',
        ingressAgent: 'payments',
        unit: 'a.service',
        roles: ['approve'],
      },
      agent: { name: 'payments+w', ownerUid: 9, backend: 'pkcs11', algorithm: 'Ed25519' },
      attestation: { status: 'good', level: 'hw-key', ageSeconds: 1 },
      authority: { principal: 'alice', chain: ['payments'], expiresInSeconds: 60 },
      usage: { firstUseOfOrigin: false, lastHour: 7 },
      budgets: { 'USD.2': 300 },
    };
    expect(facts.evaluate(casePolicyRequest(given({ operation: 'use' }, situation))).effect).toBe('permit');
    expect(facts.evaluate(casePolicyRequest(given({ operation: 'use' }))).effect).toBe('deny');
  });

  it.each([
    ['an operation that there is none of', { operation: 'sing' }],
    [
      'a member that the call does not take',
      { operation: 'dpop', htm: 'GET', htu: 'https://a.example/', uri: 'x' },
    ],
    [
      'a body that is no text',
      { operation: 'http-message', method: 'GET', targetUri: 'https://a.example/', body: 1 },
    ],
    ['members where none are', { operation: 'show', agent: 'x' }],
    ['no operation', {}],
  ])('is not understood with %s', (_what, request) => {
    expect(codeOf(() => casePolicyRequest(given(request)))).toBe('malformed_request');
  });

  it('takes what is given and stands alone where it names its operation', () => {
    const below = { operation: 'dpop', htm: 'GET', htu: 'https://a.example/' };
    expect(mergeGiven({ request: below }, { request: { htm: 'PUT' } }).request).toEqual({
      ...below,
      htm: 'PUT',
    });
    expect(mergeGiven({ request: below }, { request: { operation: 'csr' } }).request).toEqual({
      operation: 'csr',
    });
    expect(mergeGiven({ request: below, now: 1 }, { now: 2 })).toEqual({ request: below, now: 2 });
  });
});

describe('what comes of a case', () => {
  const set = shipped('owner.cedar', 'read-only.cedar');
  const judged = (expected: Partial<PolicyCase['expected']>, request: Readonly<Record<string, unknown>>) =>
    judgeCase(set, {
      name: 'it',
      given: given(request),
      expected: { decision: 'permit', policies: undefined, code: undefined, charges: undefined, ...expected },
    });
  const get = { operation: 'http-message', method: 'GET', targetUri: 'https://a.example/' };
  const post = { ...get, method: 'POST' };

  it('is as expected, or is told', () => {
    expect(judged({ policies: ['owner-signs'] }, get).faults).toEqual([]);
    expect(judged({ decision: 'deny', policies: ['read-only'], code: 'policy_denied' }, post).faults).toEqual(
      [],
    );
    expect(judged({}, post).faults).toEqual(['expected permit, found deny']);
    expect(judged({ policies: [] }, get).faults).toEqual(['expected the policies (none), found owner-signs']);
    expect(judged({ decision: 'deny', code: 'amount_not_exact' }, post).faults).toEqual([
      'expected the code amount_not_exact, found policy_denied',
    ]);
    expect(judged({ charges: ['1 USD.2'] }, get).faults).toEqual([
      'expected the charges 1 USD.2, found (none)',
    ]);
  });

  it('a permit that waits for a person is no permit', () => {
    const asks = policies(
      '@id("ask") @approval("person") permit (principal, action == Action::"csr", resource);',
    );
    const result = judgeCase(asks, {
      name: 'it',
      given: given({ operation: 'csr' }),
      expected: { decision: 'permit', policies: ['ask'], code: undefined, charges: undefined },
    });
    expect(result.found.decision).toBe('approval');
    expect(result.faults).toEqual(['expected permit, found approval']);
  });

  it('a refusal of the daemon itself counts as denied, and no policy decided it', () => {
    const dots = { ...get, targetUri: 'https://a.example/a/../b' };
    expect(judged({ decision: 'deny', policies: [], code: 'invalid_target_uri' }, dots).faults).toEqual([]);
  });
});
