/** S19: an answer is remembered by a text that says everything that Cedar would be told. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compilePolicy } from '../../../../src/policy/cedar/compile-policy.ts';
import { cedarRequestOf, questionOf } from '../../../../src/policy/cedar/context.ts';
import { RequestDocuments } from '../../../../src/policy/cedar/documents.ts';
import type { Reads } from '../../../../src/policy/cedar/reads.ts';
import { shownValues } from '../../../../src/policy/cedar/shown-values.ts';
import type { PolicyRequest } from '../../../../src/policy/verdict.ts';
import { httpMessage, plain } from '../../../support/policy-request.ts';

/** What policies may read; each by itself, and a few together. */
const READ = [
  'principal.uid == 1000',
  'principal.groups.contains(5)',
  'principal has unit && principal.unit == "a.service"',
  'resource.ownerUid == 1000',
  'resource has parent && resource.parent == "payments"',
  'context has method && context.method == "POST"',
  'context has path && context.path == "/pay"',
  'context has mediaType && context.mediaType == "application/json"',
  'context has body && context.body.members.contains("/a")',
  'context has body && context.body.hasTag("/a") && context.body.getTag("/a").s == "x"',
  'context has body && context.body.hasTag("/a") && context.body.getTag("/a") has n',
  'context has body && context.body.hasTag("/b") && context.body.getTag("/b") has b',
  'context has query && context.query.hasTag("/a")',
  'context has headers && context.headers.hasTag("x-a")',
  'context has pathSegments && context.pathSegments.hasTag("0") && context.pathSegments.count == 1',
  'context has budgets && context.budgets.hasTag("USD.2")',
  'context has intent && context.intent has purpose',
  'context.usage.lastDay > 5',
  'context.attestation.status == "good"',
];

const reads = fc.subarray(READ, { minLength: 1, maxLength: 5 }).map((conditions): Reads => {
  const when = conditions.map((condition) => `when { ${condition} }`).join(' ');
  const text = `@id("p") permit (principal, action, resource) ${when};`;
  const { policy, faults } = compilePolicy('test.cedar', { text, line: 1 });
  if (policy === undefined) throw new Error(faults.join());
  return policy.reads;
});

/** One number only: what a policy reads as text, it may not tell from another number. */
const member = fc.constantFrom<unknown>('x', 'y', 1, '1', true, false, undefined);
const request = fc
  .record({
    operation: fc.constantFrom('http-message', 'http-message', 'http-message', 'show', 'use'),
    agent: fc.constantFrom('payments', 'payments+worker'),
    ownerUid: fc.constantFrom(1000, 1001),
    uid: fc.constantFrom(1000, 1001),
    groups: fc.constantFrom<readonly number[]>([], [5]),
    unit: fc.constantFrom(undefined, 'a.service'),
    method: fc.constantFrom('PUT', 'POST'),
    target: fc.constantFrom('/pay', '/pay?a=1', '/pay/0', '/pay?a=2'),
    header: fc.constantFrom(undefined, '1', '2'),
    a: member,
    b: member,
    amount: fc.constantFrom(undefined, 1n, 2n),
    purpose: fc.constantFrom(undefined, 'x', 'y'),
    lastDay: fc.constantFrom(0, 9),
    status: fc.constantFrom('none', 'good'),
  })
  .map((it): PolicyRequest => {
    const budget = it.amount === undefined ? [] : [{ unit: 'USD.2', amount: it.amount }];
    const situation = {
      agent: it.agent,
      ownerUid: it.ownerUid,
      caller: { uid: it.uid, groups: it.groups, ...(it.unit === undefined ? {} : { unit: it.unit }) },
      facts: {
        usage: { firstUseOfOrigin: false, lastMinute: 0, lastHour: 0, lastDay: it.lastDay },
        attestation: { status: it.status, level: undefined, ageSeconds: undefined } as const,
        budgets: budget.map((of) => ({ ...of, spent: 0n, allocated: 0n })),
        intent: it.purpose === undefined ? undefined : { purpose: it.purpose },
      },
    };
    if (it.operation !== 'http-message') return plain(it.operation, situation);
    const headers: [string, string][] = [['content-type', 'application/json']];
    if (it.header !== undefined) headers.push(['x-a', it.header]);
    const body = JSON.stringify({ a: it.a, b: it.b });
    const targetUri = `https://api.example${it.target}`;
    return httpMessage({ method: it.method, targetUri, headers, body }, situation);
  });

it('S19: two requests have the same question only where Cedar would be told the same', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(reads, request, request, (of, left, right) => {
      const [one, other] = [left, right].map((asked) => {
        const documents = new RequestDocuments(asked.parameters);
        const question = questionOf(asked, of, documents);
        const { caller, agent, parameters } = asked;
        const read = shownValues(of, asked, documents);
        return {
          text: JSON.stringify(question),
          // As it is told to Cedar, and as people are shown it, who are shown it from the request itself.
          told: cedarRequestOf(question, of),
          shown: [caller.uid, agent.name, parameters.operation, read],
        };
      });
      const isSame = one?.text === other?.text;
      seen.add(`same: ${isSame}`);
      if (isSame) expect(one).toEqual(other);
      else expect(one?.told).not.toEqual(other?.told);
    }),
    { numRuns: 3000 },
  );
  expect([...seen].toSorted()).toEqual(['same: false', 'same: true']);
});
