import { describe, expect, it } from 'vitest';
import {
  ALL_ACTIONS,
  actionsOf,
  groupsOf,
  POLICY_SCHEMA,
  POLICY_SCHEMA_VERSION,
} from '../../../../src/policy/cedar/schema.ts';
import { loadPolicySet } from '../../../../src/policy/cedar/load-policy-set.ts';
import { schemaToJson } from '@cedar-policy/cedar-wasm/nodejs';
import {
  csr,
  delegation,
  dpop,
  httpMessage,
  jwt,
  plain,
  policies,
  raw,
  said,
  shipped,
} from '../../../support/policy-request.ts';

describe('the published schema', () => {
  it('says its version in its first line', () => {
    expect(POLICY_SCHEMA.split('\n', 1)[0]).toContain(`Schema version ${POLICY_SCHEMA_VERSION} `);
  });

  it('has the actions and groups that the engine knows', () => {
    const answer = schemaToJson(POLICY_SCHEMA);
    if (answer.type === 'failure') throw new Error('the schema does not parse');
    const actions = answer.json['']?.actions ?? {};
    const groups = Object.fromEntries(
      Object.entries(actions).map(([name, { memberOf }]) => [name, (memberOf ?? []).map(({ id }) => id)]),
    );
    expect(Object.keys(groups).sort()).toEqual([...ALL_ACTIONS, 'own', 'sign'].sort());
    for (const action of ALL_ACTIONS) expect(groupsOf(action), action).toEqual(groups[action]);
    expect(actionsOf('sign').length + actionsOf('own').length + 1).toBe(ALL_ACTIONS.length);
  });
});

describe('no policy at all', () => {
  it('denies everything', () => {
    const none = loadPolicySet([]);
    for (const request of [
      httpMessage(),
      dpop({ htm: 'GET', htu: 'https://a.example/' }),
      jwt({}),
      csr(),
      plain('show'),
      delegation(),
    ]) {
      expect(said(none.evaluate(request))).toBe('policy_denied');
    }
    expect(said(none.evaluate(raw('x')))).toBe('raw_signing_off');
    expect(none.mayRawSign('payments')).toBe(false);
  });
});

describe('owner.cedar', () => {
  const owner = shipped('owner.cedar');

  it('lets an owner sign, use, delegate, show, read, renew and revoke', () => {
    for (const request of [httpMessage(), dpop({ htm: 'GET', htu: 'https://a.example/' }), jwt({}), csr()]) {
      expect(said(owner.evaluate(request))).toBe('permit owner-signs');
    }
    for (const operation of ['use', 'show', 'credentials-read', 'credentials-renew', 'revoke'] as const) {
      expect(said(owner.evaluate(plain(operation)))).toBe('permit owner-uses');
    }
    expect(said(owner.evaluate(delegation()))).toBe('permit owner-uses');
  });

  it('goes for sub-agents as for their parents, and for nobody else', () => {
    expect(said(owner.evaluate(httpMessage({}, { agent: 'payments+a+b' })))).toBe('permit owner-signs');
    for (const caller of [{ uid: 1001 }, { uid: 0, gid: 0 }, { uid: 1001, groups: [1000], gid: 1000 }]) {
      expect(said(owner.evaluate(httpMessage({}, { caller })))).toBe('policy_denied');
      expect(said(owner.evaluate(plain('use', { caller })))).toBe('policy_denied');
    }
  });

  it('S1: does not cover raw', () => {
    expect(said(owner.evaluate(raw('x')))).toBe('raw_signing_off');
    expect(owner.mayRawSign('payments')).toBe(false);
  });

  it('lets only the role approve approve, an owner not by itself', () => {
    expect(said(owner.evaluate(plain('approve')))).toBe('policy_denied');
    const approver = { caller: { uid: 2000 }, facts: { roles: ['approve'] as const } };
    expect(said(owner.evaluate(plain('approve', approver)))).toBe('permit approvers-approve');
    expect(said(owner.evaluate(plain('approve', { facts: { roles: ['operate', 'policy'] } })))).toBe(
      'policy_denied',
    );
    expect(said(owner.evaluate(httpMessage({}, approver)))).toBe('policy_denied');
  });
});

describe('raw', () => {
  it('is covered by a permit scoped to it alone, and forbidden with the group', () => {
    const only = '@id("raw") permit (principal, action == Action::"raw", resource == Agent::"signer");';
    const set = policies(only);
    expect(said(set.evaluate(raw('x', { agent: 'signer' })))).toBe('permit raw');
    expect(said(set.evaluate(raw('x')))).toBe('raw_signing_off');
    expect([set.mayRawSign('signer'), set.mayRawSign('payments'), set.mayRawSign('signer+a')]).toEqual([
      true,
      false,
      false,
    ]);
    const forbidden = policies(`${only} @id("no") forbid (principal, action in Action::"sign", resource);`);
    expect(said(forbidden.evaluate(raw('x', { agent: 'signer' })))).toBe('policy_denied no');
  });

  it.each(['principal, action, resource', 'principal, action in Action::"sign", resource'])(
    'is not covered by (%s), whatever the conditions say',
    (scope) => {
      const set = policies(
        `@id("wide") permit (${scope}) when { action == Action::"raw" || action != Action::"raw" };`,
      );
      expect(said(set.evaluate(raw('x')))).toBe('raw_signing_off');
      expect(said(set.evaluate(httpMessage()))).toBe('permit wide');
    },
  );

  it('by another agent’s permit opens nothing for wide permits', () => {
    const set = policies(`
      @id("raw") permit (principal == Caller::"1", action == Action::"raw", resource);
      @id("wide") permit (principal, action, resource);`);
    expect(said(set.evaluate(raw('x')))).toBe('policy_denied');
  });
});

describe('read-only.cedar', () => {
  const set = shipped('owner.cedar', 'read-only.cedar');

  it('lets GET and HEAD through and forbids the rest', () => {
    expect(said(set.evaluate(httpMessage({ method: 'HEAD' })))).toBe('permit owner-signs');
    for (const method of ['POST', 'DELETE', 'QUERY']) {
      expect(said(set.evaluate(httpMessage({ method, body: '' })))).toBe('policy_denied read-only');
    }
    expect(said(set.evaluate(dpop({ htm: 'GET', htu: 'https://a.example/' })))).toBe('permit owner-signs');
    expect(said(set.evaluate(dpop({ htm: 'PUT', htu: 'https://a.example/' })))).toBe(
      'policy_denied read-only',
    );
  });

  it('S3: refuses proofs that bind no method', () => {
    expect(said(set.evaluate(jwt({ aud: 'https://a.example' })))).toBe('unbound_parameters read-only');
    expect(said(set.evaluate(csr()))).toBe('unbound_parameters read-only');
    expect(said(set.evaluate(plain('use')))).toBe('permit owner-uses');
  });
});

describe('business-hours.cedar', () => {
  const set = shipped('owner.cedar', 'business-hours.cedar');

  it.each([
    ['2026-11-23T07:00:00Z', 'permit owner-signs'],
    ['2026-11-27T18:59:59Z', 'permit owner-signs'],
    ['2026-11-27T06:59:59Z', 'policy_denied business-hours'],
    ['2026-11-27T19:00:00Z', 'policy_denied business-hours'],
    ['2026-11-28T12:00:00Z', 'policy_denied business-hours'],
    ['2026-11-29T12:00:00Z', 'policy_denied business-hours'],
  ])('%s: %s', (when, answer) => {
    expect(said(set.evaluate(httpMessage({}, { nowMs: Date.parse(when) })))).toBe(answer);
  });

  it('S4: signs nothing that lasts beyond them', () => {
    const nowMs = Date.parse('2026-11-27T18:59:30Z');
    const request = httpMessage({}, { nowMs });
    expect(said(set.evaluate({ ...request, endsAtMs: nowMs + 30_000 }))).toBe('permit owner-signs');
    expect(said(set.evaluate({ ...request, endsAtMs: nowMs + 30_001 }))).toBe('policy_denied business-hours');
  });
});

describe('attested-only.cedar', () => {
  const set = shipped('owner.cedar', 'attested-only.cedar');
  const level = 'hw-key';

  it.each([
    ['good and fresh', { status: 'good', level, ageSeconds: 1800 }, 'permit owner-signs'],
    ['older than half an hour', { status: 'good', level, ageSeconds: 1801 }, 'policy_denied attested-only'],
    ['failing', { status: 'failing', level, ageSeconds: 1 }, 'policy_denied attested-only'],
    ['of software', { status: 'good', level: 'software', ageSeconds: 1 }, 'policy_denied attested-only'],
    [
      'of an age nobody knows',
      { status: 'good', level, ageSeconds: undefined },
      'policy_denied attested-only',
    ],
    ['none', { status: 'none', level: undefined, ageSeconds: undefined }, 'policy_denied attested-only'],
  ] as const)('%s: %s', (_what, attestation, answer) => {
    expect(said(set.evaluate(httpMessage({}, { facts: { attestation } })))).toBe(answer);
    expect(said(set.evaluate(plain('show', { facts: { attestation } })))).toBe('permit owner-uses');
  });
});
