/** What the policy language is asked, and what it answers. `policy/cedar` implements this; the authorizer calls it. */
import type { Caller } from '../caller/caller.ts';
import type { AssuranceLevel } from '../wire/assurance.ts';
import type { Intent } from '../wire/socket/intent.ts';
import type { AgentAuthority } from './authority.ts';
import type { BudgetState, Charge, Usage } from './counters.ts';
import type { AgentFacts, BoundParameter, SigningParameters } from './proposal.ts';

/** What is neither signed nor delegated. */
export interface PlainParameters {
  readonly operation: 'use' | 'show' | 'credentials-read' | 'credentials-renew' | 'revoke' | 'approve';
}

export type JudgedParameters = SigningParameters | PlainParameters;
export type JudgedOperation = JudgedParameters['operation'];

/** How the host stands with its issuer at this moment. */
export interface AttestationFacts {
  readonly status: 'none' | 'good' | 'failing';
  readonly level: AssuranceLevel | undefined;
  /** Since the standing was last renewed. */
  readonly ageSeconds: number | undefined;
}

/** Everything beside the call that policy may read, of one moment. */
export interface DecisionFacts {
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
  readonly attestation: AttestationFacts;
  readonly authority: AgentAuthority | undefined;
  readonly budgets: readonly BudgetState[];
  readonly usage: Usage;
  readonly intent: Intent | undefined;
  /** Roles of the caller on the admin socket; none elsewhere (S11). */
  readonly roles: readonly ('operate' | 'approve' | 'policy')[];
}

export interface PolicyRequest {
  readonly caller: Caller;
  readonly agent: AgentFacts;
  readonly parameters: JudgedParameters;
  /** What the proof binds; absent where nothing is signed. */
  readonly binds?: ReadonlySet<BoundParameter>;
  /** When the proof ends, milliseconds since the epoch: what permits it has to permit it until then (S4). */
  readonly endsAtMs?: number | undefined;
  readonly facts: DecisionFacts;
}

/** What the satisfied permits demand; of several, the strictest (DECISIONS 20). */
export interface Obligations {
  /** `@approval`: a person must allow it first; `passkey` if any deciding policy wants one. */
  readonly approval: 'none' | 'person' | 'passkey';
  /** `@meter` and `@limit`. */
  readonly charges: readonly Charge[];
  /** `@scope`: what the chain of the agent has to cover. */
  readonly scopes: readonly string[];
  /** `@settle("agent")`: the agent's own word may lower what it cost. */
  readonly agentMayReport?: true;
}

export type PolicyVerdict =
  | {
      readonly effect: 'permit';
      /** Ids of the satisfied permits. */
      readonly policies: readonly string[];
      readonly obligations: Obligations;
      /** What candidate sets in observe mode would have done (S19). */
      readonly observed: readonly ObservedVerdict[];
    }
  | {
      readonly effect: 'deny';
      /** Ids of the satisfied forbids, or of the policies whose evaluation failed; empty where nothing permits. */
      readonly policies: readonly string[];
      readonly code: 'policy_denied' | 'unbound_parameters' | 'amount_not_exact' | 'raw_signing_off';
      readonly reason: string;
      readonly observed: readonly ObservedVerdict[];
    };

export interface ObservedVerdict {
  readonly set: string;
  readonly effect: 'permit' | 'deny';
  readonly policies: readonly string[];
}

/** A loaded, validated set of policies. */
export interface PolicyEngine {
  /** SHA-256 of the set and its schema, lower-case hex. */
  readonly fingerprint: string;
  /** Synchronous, so that nothing comes between a decision and its reservation (DECISIONS 20). Never throws. */
  evaluate(request: PolicyRequest): PolicyVerdict;
  /** Whether a permit whose action scope is `== raw` could apply to this agent (DECISIONS 20, S1). */
  mayRawSign(agentName: string): boolean;
}
