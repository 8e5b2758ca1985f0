/** S19: what is put to Cedar in parts and by index says what Cedar says of the whole set. */
import { isAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compilePolicy, type CompiledPolicy } from '../../../../src/policy/cedar/compile-policy.ts';
import { cedarRequest } from '../../../../src/policy/cedar/context.ts';
import { CedarPolicySet } from '../../../../src/policy/cedar/engine.ts';
import { RequestDocuments } from '../../../../src/policy/cedar/documents.ts';
import { mergeReads } from '../../../../src/policy/cedar/reads.ts';
import type { PolicyRequest } from '../../../../src/policy/verdict.ts';
import { httpMessage, plain } from '../../../support/policy-request.ts';

const PRINCIPALS = ['principal', 'principal == Caller::"1000"', 'principal == Caller::"1001"'];
const ACTIONS = [
  'action',
  'action == Action::"http-message"',
  'action in Action::"sign"',
  'action in Action::"own"',
];
const RESOURCES = [
  'resource',
  'resource == Agent::"payments"',
  'resource in Agent::"payments"',
  'resource in Agent::"other"',
  'resource is SubAgent',
];
/** Guarded, so that a policy can not fail where its action has no such attribute. */
const CONDITIONS = [
  '',
  'when { principal.uid == resource.ownerUid }',
  'when { principal.uid != resource.ownerUid }',
  'unless { resource.name like "pay*" }',
  'when { context has method && context.method == "POST" }',
  'when { context has path && context.path == "/pay" }',
  'when { context has host && context.host == "api.example" }',
  'when { context has origin && context.origin == "https://api.example" }',
  'when { context has origin && ["https://api.example", "https://else.example"].contains(context.origin) }',
  'when { context has origin && ["https://else.example"].contains(context.origin) }',
  'when { context.usage.lastDay > 5 }',
  'when { context.attestation.status == "good" }',
];

const policy = fc.record({
  effect: fc.constantFrom('permit', 'permit', 'forbid'),
  principal: fc.constantFrom(...PRINCIPALS),
  action: fc.constantFrom(...ACTIONS),
  resource: fc.constantFrom(...RESOURCES),
  condition: fc.constantFrom(...CONDITIONS),
});

const request = fc
  .record({
    operation: fc.constantFrom('http-message', 'http-message', 'show'),
    agent: fc.constantFrom('payments', 'payments+worker', 'other'),
    uid: fc.constantFrom(1000, 1001),
    ownerUid: fc.constantFrom(1000, 1001),
    method: fc.constantFrom('GET', 'POST'),
    path: fc.constantFrom('/pay', '/read'),
    lastDay: fc.constantFrom(0, 9),
    status: fc.constantFrom('none', 'good'),
  })
  .map(({ operation, agent, uid, ownerUid, method, path, lastDay, status }): PolicyRequest => {
    const situation = {
      agent,
      ownerUid,
      caller: { uid },
      facts: {
        usage: { firstUseOfOrigin: false, lastMinute: 0, lastHour: 0, lastDay },
        attestation: { status, level: undefined, ageSeconds: undefined } as const,
      },
    };
    return operation === 'show'
      ? plain('show', situation)
      : httpMessage({ method, targetUri: `https://api.example${path}` }, situation);
  });

function texts(
  specs: readonly (typeof policy extends fc.Arbitrary<infer P> ? P : never)[],
): readonly string[] {
  return specs.map(
    ({ effect, principal, action, resource, condition }, index) =>
      `@id("p${index}") ${effect} (${principal}, ${action}, ${resource}) ${condition};`,
  );
}

/** Every policy, asked at once, with everything that any of them reads. */
function whole(all: readonly CompiledPolicy[], asked: PolicyRequest): readonly string[] {
  const reads = mergeReads(all.map(({ reads: own }) => own));
  const answer = isAuthorized({
    ...cedarRequest(asked, reads, new RequestDocuments(asked.parameters)),
    policies: { staticPolicies: Object.fromEntries(all.map(({ id, text }) => [id, text])) },
  });
  if (answer.type === 'failure') throw new Error(answer.errors.map(({ message }) => message).join());
  const { decision, diagnostics } = answer.response;
  expect(diagnostics.errors).toEqual([]);
  return [decision === 'allow' ? 'permit' : 'deny', ...diagnostics.reason.toSorted()];
}

it('S19: the index and the parts say of any request what the whole set says, by the same policies', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(
      fc.array(policy, { minLength: 1, maxLength: 8 }),
      fc.array(request, { minLength: 1, maxLength: 6 }),
      (specs, requests) => {
        const written = texts(specs);
        const all = written.flatMap((text) => compilePolicy('test.cedar', { text, line: 1 }).policy ?? []);
        expect(all).toHaveLength(written.length);
        // Not loaded as a set: that refuses policies which nothing can satisfy, and those are wanted here too.
        const set = new CedarPolicySet(all, 'test');
        // Twice, so that what is remembered is asked too.
        for (const asked of [...requests, ...requests]) {
          const verdict = set.evaluate(asked);
          const [effect, ...ids] = whole(all, asked);
          expect([verdict.effect, ...verdict.policies.toSorted()]).toEqual([effect, ...ids]);
          seen.add(`${effect} ${ids.length > 0}`);
        }
      },
    ),
    { numRuns: 300 },
  );
  expect([...seen].toSorted()).toEqual(['deny false', 'deny true', 'permit true']);
});
