/** Why a request was permitted or denied, part by part, each part judged by Cedar itself. */
import { isAuthorized, policyToText, type PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { PolicyRequest, PolicyVerdict } from '../verdict.ts';
import type { CompiledPolicy } from './compile-policy.ts';
import { cedarRequest } from './context.ts';
import { RequestDocuments } from './documents.ts';
import { flatten, type Conjunct } from './expression.ts';
import type { ConditionResult, Explanation, PolicyExplanation } from './policy-set.ts';
import { readsOf } from './reads.ts';
import { shownValues } from './shown-values.ts';

/** @param inScope the policies whose scope covers the request, in file order */
export function explainRequest(
  request: PolicyRequest,
  verdict: PolicyVerdict,
  inScope: readonly CompiledPolicy[],
): Explanation {
  const documents = new RequestDocuments(request.parameters);
  const policies = inScope.map((policy) => explainPolicy(policy, request, documents));
  const forbidding = new Map(
    inScope.map((policy) => [policy.id, () => exceptions(policy, request, documents)] as const),
  );
  return { verdict, policies, advice: advice(verdict, policies, forbidding, request) };
}

/** What a forbid makes an exception of and the request does not fulfil: the parts of its `unless` that fail. */
function exceptions(
  { conjuncts }: CompiledPolicy,
  request: PolicyRequest,
  documents: RequestDocuments,
): readonly string[] {
  const excepted = conjuncts
    .filter(({ kind }) => kind === 'unless')
    .flatMap(({ body }) => flatten(body, '&&'));
  let failed = false;
  return excepted.flatMap((body) => {
    const part: Conjunct = { kind: 'when', body };
    const { holds, error } = judge(part, request, documents);
    // After one that fails, others may have no meaning: `has` and what it guards.
    if (holds || (failed && error !== undefined)) return [];
    failed = true;
    const values = shownValues(readsOf([body]).reads, request, documents);
    return [described({ text: conditionText(part), result: 'fails', values })];
  });
}

function explainPolicy(
  policy: CompiledPolicy,
  request: PolicyRequest,
  documents: RequestDocuments,
): PolicyExplanation {
  const { id, effect, file, line } = policy;
  let failed = false;
  const conditions = policy.conjuncts.map((conjunct): ConditionResult => {
    const { holds, error } = judge(conjunct, request, documents);
    const result =
      failed && error !== undefined
        ? 'not-reached'
        : error !== undefined
          ? 'error'
          : holds
            ? 'holds'
            : 'fails';
    if (result === 'fails' || result === 'error') failed = true;
    const values = shownValues(readsOf([conjunct.body]).reads, request, documents);
    return {
      text: conditionText(conjunct),
      result,
      values,
      ...(result === 'error' ? { error } : {}),
    } as ConditionResult;
  });
  const results = conditions.map(({ result }) => result);
  const first = results.find((result) => result !== 'holds');
  const outcome = first === undefined ? 'satisfied' : first === 'error' ? 'error' : 'not-satisfied';
  return { id, effect, file, line, outcome, conditions };
}

/** One conjunct as a policy of its own. */
function alone({ kind, body }: Conjunct): PolicyJson {
  return {
    effect: 'permit',
    principal: { op: 'All' },
    action: { op: 'All' },
    resource: { op: 'All' },
    conditions: [{ kind, body }],
  };
}

function judge(
  conjunct: Conjunct,
  request: PolicyRequest,
  documents: RequestDocuments,
): { readonly holds: boolean; readonly error: string | undefined } {
  const call = cedarRequest(request, readsOf([conjunct.body]).reads, documents);
  const answer = isAuthorized({ ...call, policies: { staticPolicies: { conjunct: alone(conjunct) } } });
  if (answer.type === 'failure')
    return { holds: false, error: answer.errors[0]?.message ?? 'no reason given' };
  const { decision, diagnostics } = answer.response;
  return { holds: decision === 'allow', error: diagnostics.errors[0]?.error.message };
}

function conditionText(conjunct: Conjunct): string {
  const answer = policyToText(alone(conjunct));
  if (answer.type === 'failure') return JSON.stringify(conjunct.body);
  const text = answer.text.slice(answer.text.indexOf('{') + 1, answer.text.lastIndexOf('}')).trim();
  return conjunct.kind === 'when' ? text : `!(${text})`;
}

function advice(
  verdict: PolicyVerdict,
  policies: readonly PolicyExplanation[],
  forbidding: ReadonlyMap<string, () => readonly string[]>,
  request: PolicyRequest,
): readonly string[] {
  if (verdict.effect === 'permit') return [];
  const found = [verdict.reason];
  for (const { id, effect, outcome, conditions } of policies) {
    if (effect === 'forbid' && outcome === 'satisfied') {
      const missing = forbidding.get(id)?.() ?? [];
      found.push(
        missing.length === 0
          ? `${id} forbids it; one of its conditions would have to fail`
          : `${id} forbids it unless: ${missing.join('; ')}`,
      );
    }
    if (effect === 'permit' && outcome !== 'satisfied') {
      const missing = conditions
        .filter(({ result }) => result === 'fails' || result === 'error')
        .map(described);
      found.push(`${id} would permit it if: ${missing.join('; ')}`);
    }
  }
  if (!policies.some(({ effect }) => effect === 'permit')) found.push(nobodyPermits(request));
  return found;
}

function described({ text, values }: ConditionResult): string {
  const shown = Object.entries(values).map(([path, value]) => `${path} is ${value}`);
  return shown.length === 0 ? text : `${text} (${shown.join(', ')})`;
}

function nobodyPermits(request: PolicyRequest): string {
  const { caller, agent, parameters } = request;
  return `no permit is about Action::"${parameters.operation}" by Caller::"${caller.uid}" with the agent ${agent.name}`;
}
