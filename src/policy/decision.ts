/** What the authorizer answers. */
import type { KeydError } from '../wire/problem.ts';
import type { AgentAuthority } from './authority.ts';
import type { Reservation } from './counters.ts';
import type { Grant } from './minted-grant.ts';
import type { Obligations, ObservedVerdict, PolicyRequest } from './verdict.ts';

/** What was decided and why; the audit record is made from it. */
export interface Decision {
  /** `pending`: a person has to allow it first. */
  readonly effect: 'permit' | 'deny' | 'pending';
  /** The rules and policies that decided. */
  readonly policies: readonly string[];
  readonly policyVersion: number;
  /** What candidate sets would have done (S19). */
  readonly observed?: readonly ObservedVerdict[];
}

/** What was known of the agent when it was decided; for the record. */
export interface DecisionContext {
  readonly decision: Decision;
  readonly authority: AgentAuthority | undefined;
}

export type SigningAuthorization = DecisionContext &
  (
    | {
        readonly grant: Grant;
        readonly reservation: Reservation | undefined;
        /** The agent's own word may lower what is reserved. */
        readonly agentMayReport: boolean;
      }
    | { readonly pending: PendingTerms }
    | { readonly refusal: KeydError }
  );

/** What a person is asked to allow, beside the request itself. */
export interface PendingTerms {
  readonly level: 'person' | 'passkey';
  readonly charges: Obligations['charges'];
}

export type ActionAuthorization = { readonly decision: Decision; readonly refusal?: KeydError };

/** A second opinion from outside, asked about what the policy set permits; both must permit. */
export interface DecisionPoint {
  /**
   * Never rejects: whatever keeps it from an answer is a refusal.
   * @param obligations what the permits demand: what it would cost, and whether a person is asked
   */
  ask(request: PolicyRequest, obligations: Obligations, signal: AbortSignal): Promise<SecondOpinion>;
}

export type SecondOpinion =
  { readonly permitted: true } | { readonly permitted: false; readonly refusal: KeydError };
