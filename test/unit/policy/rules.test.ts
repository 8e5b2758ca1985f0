import { describe, expect, it } from 'vitest';
import { parseTomlConfig } from '../../../src/base/toml-config.ts';
import { matchesCaller } from '../../../src/policy/caller-selector.ts';
import { matchesDnsName, matchesTyp, policyRules, policySection } from '../../../src/policy/rules.ts';
import { object } from '../../../src/wire/check.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { caller } from '../../support/signing-fixture.ts';

const read = (toml: string) =>
  policyRules(parseTomlConfig(toml, 'agentkeyd.toml', object({ policy: policySection })).policy);

const faults = (toml: string): readonly string[] => {
  try {
    read(toml);
    return [];
  } catch (thrown) {
    if (thrown instanceof KeydError && thrown.code === 'configuration_invalid') return thrown.faults ?? [];
    throw thrown;
  }
};

describe('the [policy] section', () => {
  it('reads every kind of rule', () => {
    const rules = read(`
      [policy]
      allow_raw = ["legacy"]
      jwt_types = ["client-authentication+jwt", "acme-*"]
      unbound_authorization = ["https://api.example:8443"]
      [[policy.create]]
      uids = [1000]
      units = ["planner.service"]
      names = ["planner-*"]
      [policy.roles]
      operate = [{ gids = [27] }]
    `);
    expect(rules).toMatchObject({
      create: [{ uids: [1000], units: ['planner.service'], names: ['planner-*'] }],
      roles: { operate: [{ gids: [27] }] },
      allowRaw: ['legacy'],
      jwtTypes: ['client-authentication+jwt', 'acme-*'],
      unboundAuthorization: ['https://api.example:8443'],
    });
  });

  it('allows nothing where it says nothing', () => {
    const { roles, ...lists } = policyRules();
    for (const list of [...Object.values(lists), ...Object.values(roles)]) expect(list).toEqual([]);
  });

  it.each([
    ['a selector that names nobody', '[[policy.create]]\nnames = ["*"]'],
    ['an empty selector', '[policy.roles]\noperate = [{}]'],
    ['a selector by executable alone (S10)', '[[policy.create]]\nexecutables = ["ab"]\nnames = ["*"]'],
    ['a selector with an empty list', '[[policy.create]]\nuids = []\nnames = ["*"]'],
    ['a rule without names', '[[policy.create]]\nuids = [1]'],
    ['a pattern with a plus', '[[policy.create]]\nuids = [1]\nnames = ["a+*"]'],
    ['an unknown key', '[policy]\nallow_everything = true'],
    ['a wildcard for raw signing', '[policy]\nallow_raw = ["*"]'],
    ['an origin with a path', '[policy]\nunbound_authorization = ["https://api.example/v1"]'],
    ['an origin that is not canonical', '[policy]\nunbound_authorization = ["https://API.example"]'],
    ['a type in upper case', '[policy]\njwt_types = ["Foo+JWT"]'],
    ['a DNS wildcard within', '[policy]\ncsr_dns_names = ["a.*.example"]'],
    ['a uid that is not one', '[[policy.create]]\nuids = [-1]\nnames = ["*"]'],
  ])('refuses %s', (_what, toml) => {
    expect(faults(toml).length).toBeGreaterThan(0);
  });

  it('reports all faults at once', () => {
    expect(faults('[policy]\nx = 1\nallow_raw = ["UP"]\njwt_types = [3]')).toHaveLength(3);
  });
});

describe('caller selectors', () => {
  const containers = ['a'.repeat(64)];
  it.each([
    [{ uids: [1000] }, true],
    [{ uids: [1001] }, false],
    [{ gids: [27] }, true],
    [{ gids: [1000] }, true],
    [{ gids: [28] }, false],
    [{ uids: [1000], gids: [28] }, false],
    [{ units: ['planner.service'] }, true],
    [{ units: ['other.service'] }, false],
    [{ containers }, true],
    [{ containers: ['b'.repeat(64)] }, false],
    [{ uids: [1001], containers }, false],
    [{}, false],
  ])('%j: %s', (selector, expected) => {
    const who = caller({ groups: [27], unit: 'planner.service', containerId: 'a'.repeat(64) });
    expect(matchesCaller(selector, who)).toBe(expected);
  });

  it('S10: an unknown unit or container matches nothing', () => {
    expect(matchesCaller({ units: ['planner.service'] }, caller())).toBe(false);
    expect(matchesCaller({ containers }, caller())).toBe(false);
  });
});

describe('patterns', () => {
  it.each([
    [['*'], 'x+jwt', true],
    [['acme-*'], 'acme-order+jwt', true],
    [['*+jwt'], 'order+jwt', true],
    [['*+jwt'], 'order', false],
    [['order+jwt'], 'orders+jwt', false],
    [[], 'order+jwt', false],
  ])('type %j %s: %s', (patterns, typ, expected) => {
    expect(matchesTyp(patterns, typ)).toBe(expected);
  });

  it.each([
    [['a.example'], 'a.example', true],
    [['*.example'], 'a.example', true],
    [['*.example'], 'a.b.example', false],
    [['*.example'], 'example', false],
    [['*.example'], '.example', false],
    [['a.example'], 'b.a.example', false],
  ])('DNS name %j %s: %s', (patterns, name, expected) => {
    expect(matchesDnsName(patterns, name)).toBe(expected);
  });
});
