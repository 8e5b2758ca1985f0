/** What a policy set says to a case, and whether that is what the case expects. */
import { KeydError, type ErrorCode } from '../../wire/problem.ts';
import type { Explanation, PolicySet } from '../cedar/policy-set.ts';
import type { PolicyRequest, PolicyVerdict } from '../verdict.ts';
import { casePolicyRequest } from './case-policy-request.ts';
import type { PolicyCase } from './read-cases.ts';

/** What came of it. `approval`: permitted once a person allows it. */
export interface Outcome {
  readonly decision: 'permit' | 'approval' | 'deny';
  readonly policies: readonly string[];
  /** Of a denial. */
  readonly code?: ErrorCode;
  readonly reason?: string;
  /** `"300000 USD.2"`. */
  readonly charges?: readonly string[];
}

export interface CaseResult {
  readonly name: string;
  readonly found: Outcome;
  /** One sentence for each thing that is not as expected; none where the case passed. */
  readonly faults: readonly string[];
}

/** @throws KeydError `malformed_request` where the case itself is not understood */
export function judgeCase(set: PolicySet, { expected, given, name }: PolicyCase): CaseResult {
  const request = requestOf(given);
  const found = request instanceof KeydError ? refused(request) : outcome(set.evaluate(request));
  const faults = [
    ...(found.decision === expected.decision
      ? []
      : [`expected ${expected.decision}, found ${found.decision}`]),
    ...(expected.code === undefined || expected.code === found.code
      ? []
      : [`expected the code ${expected.code}, found ${found.code ?? 'none'}`]),
    ...difference('the policies', expected.policies, found.policies),
    ...difference('the charges', expected.charges, found.charges ?? []),
  ];
  return { name, found, faults };
}

/**
 * Why a case is answered as it is.
 * @returns the outcome alone where the daemon refuses it before policy
 * @throws KeydError `malformed_request`
 */
export function explainCase(
  set: PolicySet,
  { given }: PolicyCase,
): { readonly outcome: Outcome; readonly explanation?: Explanation } {
  const request = requestOf(given);
  if (request instanceof KeydError) return { outcome: refused(request) };
  const explanation = set.explain(request);
  return { outcome: outcome(explanation.verdict), explanation };
}

function requestOf(given: PolicyCase['given']): PolicyRequest | KeydError {
  try {
    return casePolicyRequest(given);
  } catch (thrown) {
    // A case that is not understood proves nothing about the policies; a refusal by the daemon does.
    if (thrown instanceof KeydError && thrown.code !== 'malformed_request') return thrown;
    throw thrown;
  }
}

function refused({ code, message }: KeydError): Outcome {
  return { decision: 'deny', policies: [], code, reason: message };
}

function outcome(verdict: PolicyVerdict): Outcome {
  const { policies } = verdict;
  if (verdict.effect === 'deny') {
    return { decision: 'deny', policies, code: verdict.code, reason: verdict.reason };
  }
  const { approval, charges } = verdict.obligations;
  return {
    decision: approval === 'none' ? 'permit' : 'approval',
    policies,
    charges: charges.flatMap((charge) =>
      charge.kind === 'budget' ? [`${charge.amount} ${charge.unit}`] : [],
    ),
  };
}

function difference(
  what: string,
  expected: readonly string[] | undefined,
  found: readonly string[],
): readonly string[] {
  if (expected === undefined || expected.toSorted().join('\n') === found.toSorted().join('\n')) return [];
  return [`expected ${what} ${said(expected)}, found ${said(found)}`];
}

function said(items: readonly string[]): string {
  return items.length === 0 ? '(none)' : items.join(', ');
}
