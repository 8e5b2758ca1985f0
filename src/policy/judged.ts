import type { KeydError } from '../wire/problem.ts';
import type { AgentAuthority } from './authority.ts';
import type { Charge } from './counters.ts';
import type { Decision } from './decision.ts';
import type { Obligations, PolicyRequest } from './verdict.ts';

/** A judgement below which charges and approvals are still open. */
export type Judged = Refused | Permitted;

export interface Refused {
  readonly refusal: KeydError;
  readonly decision: Decision;
  readonly authority?: AgentAuthority;
}

export interface Permitted {
  readonly request: PolicyRequest;
  readonly decision: Decision;
  readonly authority: AgentAuthority | undefined;
  readonly obligations: Obligations;
  /** Those of the chain, then those of the obligations. */
  readonly charges: readonly Charge[];
}

/** What the policies demand, and the chain with them. */
export function demandsOf({ obligations, charges }: Permitted): Obligations {
  return { ...obligations, charges };
}

/** Charges of the chain, and of the policies. */
export function chargesTogether(
  chain: readonly Charge[] | undefined,
  policies: readonly Charge[],
): readonly Charge[] {
  return chain === undefined || chain.length === 0 ? policies : [...chain, ...policies];
}
