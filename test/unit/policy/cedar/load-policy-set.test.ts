import { describe, expect, it } from 'vitest';
import { loadPolicySet } from '../../../../src/policy/cedar/load-policy-set.ts';
import { KeydError } from '../../../../src/wire/problem.ts';

/** The faults of a set of one file; none where it loads. */
function faults(text: string, name = 'a.cedar'): readonly string[] {
  try {
    loadPolicySet([{ name, text }]);
    return [];
  } catch (thrown) {
    if (!(thrown instanceof KeydError)) throw thrown;
    expect(thrown.code).toBe('configuration_invalid');
    return thrown.faults ?? [];
  }
}

const permit = (
  head: string,
  when = 'true',
  scope = 'principal, action == Action::"http-message", resource',
): string => `${head} permit (${scope}) when { ${when} };`;

describe('loading a policy set', () => {
  it('takes a file of comments, several files, and none', () => {
    expect(faults('// nothing\n\n  // here; "\n')).toEqual([]);
    expect(loadPolicySet([]).policies).toEqual([]);
    const set = loadPolicySet([
      { name: 'a', text: '// x\n@id("one")\npermit (principal, action, resource);' },
      {
        name: 'b',
        text: String.raw`@id("two") forbid (principal, action == Action::"dpop", resource) when { context.path == "\";//" };`,
      },
    ]);
    expect(set.policies).toEqual([
      { id: 'one', effect: 'permit', file: 'a', line: 2 },
      { id: 'two', effect: 'forbid', file: 'b', line: 1 },
    ]);
  });

  it('names file, line and reason of every fault at once', () => {
    const found = faults(`// three faults below
@id("typo")
permit (principal, action == Action::"http-message", resource)
when {
  context.metod == "GET"
};

permit (principal, action, resource);
@id("broken") permit (principal, action resource);`);
    expect(found).toHaveLength(3);
    expect(found[0]).toMatch(/^a\.cedar:8: the policy has no @id/);
    expect(found[1]).toMatch(/^a\.cedar:9: .*unexpected token/);
    expect(found[2]).toMatch(/^a\.cedar:5: .*`metod`.*\(did you mean `method`\?\)/);
  });

  it('counts lines in characters where Cedar counts octets', () => {
    expect(
      faults('// é\n@id("a") forbid (principal, action, resource) when { "éééééééé\u{1F600}" ==\n(;'),
    ).toEqual([expect.stringMatching(/^a\.cedar:3: /)]);
  });

  it.each([
    ['text that is cut short', '@id("a") permit (principal, action, resource)'],
    ['a string that does not end', '@id("a") permit (principal, action, resource) when { "x };'],
    ['a template', '@id("a") permit (principal == ?principal, action, resource);'],
    ['something after the policies', '@id("a") permit (principal, action, resource); x'],
  ])('refuses %s', (_what, text) => {
    expect(faults(text)).toHaveLength(1);
  });

  it('refuses a policy cut at any octet, and takes the whole', () => {
    const text = '@id("a")permit(principal,action,resource)when{principal.uid==resource.ownerUid};';
    for (let length = 1; length < text.length; length += 1) {
      expect(faults(text.slice(0, length)).length, text.slice(0, length)).toBeGreaterThan(0);
    }
    expect(faults(text)).toEqual([]);
  });

  it('refuses an id that is taken, in the same file or another', () => {
    const text = '@id("a") permit (principal, action, resource);\n'.repeat(2);
    expect(faults(text)).toEqual(['a.cedar:2: the id a is taken by a.cedar:1']);
  });

  it.each([
    [
      'a warning of the validator',
      permit('@id("a")', 'context.method == "GET" && false'),
      /impossible|false/,
    ],
    [
      'an unknown action',
      permit('@id("a")', 'true', 'principal, action == Action::"sing", resource'),
      /sing/,
    ],
    [
      'an entity type the schema has not',
      permit('@id("a")', 'true', 'principal == User::"a", action, resource'),
      /User/,
    ],
    ['a tag without asking for it', permit('@id("a")', 'context.body.getTag("/a").s == "x"'), /hasTag/],
    ['an optional fact without asking for it', permit('@id("a")', 'principal.unit == "x.service"'), /unit/],
    ['a float', permit('@id("a")', 'context.time.hour < 1.5'), /token/],
  ])('refuses %s', (_what, text, reason) => {
    const [first, ...more] = faults(text);
    expect(first).toMatch(reason);
    expect(more.every((fault) => fault.startsWith('a.cedar:1: '))).toBe(true);
  });

  it.each([
    ['the context as a whole', '{ a: context } has a', /context as a whole/],
    ['a tag that is not named', 'context.headers.hasTag(context.method)', /not named by a literal/],
    ['a document as a value', 'context.body == context.query', /as a value/],
    ['a header policies are not shown', 'context.headers.hasTag("authorization")', /not shown/],
    ['a header in capitals', 'context.headers.hasTag("X-Tenant")', /lower case/],
    ['a member without its slash', 'context.body.hasTag("amount")', /JSON Pointer/],
  ])('refuses a condition that reads %s', (_what, condition, reason) => {
    expect(faults(permit('@id("a")', condition))[0]).toMatch(reason);
  });

  it.each([
    ['Agent::"a+b"', 'resource == Agent::"a+b"'],
    ['SubAgent::"a"', 'resource in SubAgent::"a"'],
    ['a principal in a group', 'principal in Caller::"1"'],
  ])('refuses a scope that never matches: %s', (_what, part) => {
    const scope = ['principal', 'action', 'resource']
      .map((name) => (part.startsWith(name) ? part : name))
      .join(', ');
    expect(faults(`@id("a") forbid (${scope});`)).toHaveLength(1);
  });
});

describe('annotations', () => {
  it.each([
    ['@unknown("x")', /unknown annotation @unknown/],
    ['@approval("human")', /@approval/],
    ['@approval', /@approval/],
    ['@scope("Payments")', /no scope/],
    ['@scope("a..b")', /no scope/],
    ['@unboundParameters("https://api.example/")', /no origin/],
    ['@unboundParameters("api.example")', /no origin/],
    ['@unboundParameters("https://API.example")', /no origin/],
    ['@meter("USD body:/amount")', /UNIT\.DECIMALS/],
    ['@meter("USD.2")', /UNIT\.DECIMALS/],
    ['@meter("USD.2 body:amount")', /JSON Pointer/],
    ['@meter("USD.2 =0")', /above zero/],
    ['@meter("USD.2 =-1")', /UNIT\.DECIMALS/],
    ['@meter("USD.2 =0.001")', /above zero/],
    ['@meter("USD.19 =1")', /UNIT\.DECIMALS/],
    ['@meter("USD.2 =1; USD.2 =2")', /one unit twice/],
    ['@meter("uses.0 =1")', /counts by itself/],
    ['@limit("1 per week")', /minute\|hour\|day\|lifetime/],
    ['@limit("0 per day")', /above zero/],
    ['@limit("1.5 per day")', /above zero/],
    ['@limit("1 per day each")', /AMOUNT/],
    ['@limit("500.00 USD.2 per day")', /does not count/],
    ['@limit("1 per day; 2 per day")', /one unit and window twice/],
  ])('refuses %s', (annotation, reason) => {
    expect(faults(permit(`@id("a") ${annotation}`))[0]).toMatch(reason);
  });

  it.each([
    '@approval("passkey")',
    '@scope("payments.write a.* *")',
    '@unboundParameters("https://api.example https://b.example:8443")',
    '@unboundParameters("*")',
    '@meter("USD.2 =0.05; calls-api.0 =1")',
    '@limit("1 per lifetime; 20 per hour each agent")',
    '@meter("USD.2 =0.05") @limit("500.00 USD.2 per day each agent")',
  ])('takes %s', (annotation) => {
    expect(faults(permit(`@id("a") ${annotation}`))).toEqual([]);
  });

  it('are a permit’s, and for what is signed', () => {
    expect(faults('@id("a") @approval("person") forbid (principal, action, resource);')[0]).toMatch(
      /is a forbid/,
    );
    expect(faults('@id("a") @limit("1 per day") permit (principal, action, resource);')[0]).toMatch(
      /what is signed/,
    );
    expect(
      faults('@id("a") @limit("1 per day") permit (principal, action in Action::"sign", resource);'),
    ).toEqual([]);
  });

  it('S7: a metered document lists its allowed members', () => {
    const metered = (when: string): readonly string[] =>
      faults(permit('@id("a") @meter("USD.2 body:/amount")', when));
    expect(metered('context.body.hasTag("/amount")')[0]).toMatch(/does not list the members/);
    expect(metered('["/amount"].containsAll(context.body.members)')).toEqual([]);
    expect(metered('context.body.members == ["/amount"]')).toEqual([]);
    // The other way round it only says what must be there; as one of two ways it does not hold.
    expect(metered('context.body.members.containsAll(["/amount"])')[0]).toMatch(/does not list/);
    expect(metered('["/amount"].containsAll(context.body.members) || context.method == "POST"')[0]).toMatch(
      /does not list/,
    );
    expect(metered('["/amount"].containsAll(context.query.members)')[0]).toMatch(/does not list/);
    const query = permit(
      '@id("a") @meter("USD.2 query:amount")',
      '["/amount"].containsAll(context.query.members)',
    );
    expect(faults(query)).toEqual([]);
  });

  it('a metered document is one of the action it is scoped to', () => {
    const scope = 'principal, action in Action::"sign", resource';
    const text = permit(
      '@id("a") @meter("USD.2 body:/amount")',
      'context has body && ["/amount"].containsAll(context.body.members)',
      scope,
    );
    expect(faults(text)[0]).toMatch(/not scoped to action == Action::"http-message"/);
  });
});

describe('S10: a permit selects its caller by more than an executable', () => {
  const HASH = 'a'.repeat(64);
  const executable = `principal has executableSha256 && principal.executableSha256 == "${HASH}"`;

  it.each([
    executable,
    `${executable} || principal.uid == 1000`,
    `${executable} && principal.uid > 0`,
    `${executable} && !(principal.uid == 0)`,
    `${executable} && principal.uid == principal.uid`,
    `${executable} && principal has unit`,
    `${executable} && (principal.uid == 1000 || context.method == "GET")`,
    `["${HASH}"].contains(if principal has executableSha256 then principal.executableSha256 else "")`,
  ])('refuses %s', (when) => {
    expect(faults(permit('@id("a")', when))).toEqual([expect.stringContaining('(S10)')]);
  });

  it.each([
    `${executable} && principal.uid == 1000`,
    `${executable} && resource.ownerUid == principal.uid`,
    `${executable} && principal.groups.contains(27)`,
    `${executable} && [1000, 1001].contains(principal.uid)`,
    `${executable} && principal has unit && principal.unit == "pay.service"`,
    `${executable} && (principal.uid == 1000 || principal.gid == 1000)`,
    `context.method == "GET"`,
  ])('takes %s', (when) => {
    expect(faults(permit('@id("a")', when))).toEqual([]);
  });

  it('takes a principal in the scope, and any forbid', () => {
    expect(faults(permit('@id("a")', executable, 'principal == Caller::"1000", action, resource'))).toEqual(
      [],
    );
    expect(faults(`@id("a") forbid (principal, action, resource) when { ${executable} };`)).toEqual([]);
  });
});
