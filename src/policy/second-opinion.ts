import { asKeydError, KeydError } from '../wire/problem.ts';
import type { DecisionPoint, SecondOpinion } from './decision.ts';
import type { Obligations, PolicyRequest } from './verdict.ts';

/** How records name it among the policies that decided. */
export const DECISION_POINT = 'decision-point';

/** What the decision point says; one that breaks its word never to reject refuses like any other fault (S19). */
export async function secondOpinion(
  decisionPoint: DecisionPoint,
  request: PolicyRequest,
  obligations: Obligations,
  signal: AbortSignal,
): Promise<SecondOpinion> {
  try {
    return await decisionPoint.ask(request, obligations, signal);
  } catch (thrown) {
    return { permitted: false, refusal: asKeydError(thrown) };
  }
}

/** It was asked about one price and one person's consent, and permitted no other. */
export function termsChanged(): KeydError {
  return new KeydError(
    'policy_denied',
    'what the policies demand changed while the external decision point was asked; ask again',
  );
}
