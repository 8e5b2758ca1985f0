/**
 * What an agent may do at most, by the chain of delegations from its principal: the view that policy and audit
 * have of it. Signing implements this over the delegation room.
 */
import type { Charge } from './counters.ts';
import type { AgentFacts, Proposal } from './proposal.ts';

/** One link: who holds it. The first is the root agent under DT₀. */
export interface AuthorityLink {
  /** `jti` of the token. */
  readonly jti: string;
  readonly agentName: string;
  /** RFC 7638 thumbprint of the key it confirms. */
  readonly kid: string;
}

export interface AgentAuthority {
  /** `sub` of every token of the chain. */
  readonly principal: string;
  /** `jti` of DT₀: budgets and counts belong to it (S6). */
  readonly grantId: string;
  /** A grant that no person approved with a passkey (S2, DECISIONS 18). */
  readonly development: boolean;
  /** 0 for a root agent. */
  readonly depth: number;
  readonly maxDepth: number;
  readonly links: readonly AuthorityLink[];
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
  /** The earliest end in the chain, milliseconds since the epoch. */
  readonly expiresAtMs: number;
  /** Where the ledger keeps what this agent may spend. */
  readonly account: string;
  /** What every signature costs by the chain itself: one call, where a link counts them. */
  readonly charges?: readonly Charge[];
  /** Whether a constraint of the chain reads what this proof does not bind (S3): its name, or undefined. */
  readsUnbound(proposal: Proposal): string | undefined;
  /**
   * The first rule of the chain that this action breaks, in words, or undefined.
   * @param scopes what policy says the action needs
   * @param charges what policy says it costs
   */
  refuses(proposal: Proposal, scopes: readonly string[], charges: readonly Charge[]): string | undefined;
}

export interface AuthoritySource {
  /**
   * The authority of the agent's present key, or undefined where nobody granted it any.
   * @throws KeydError `delegation_revoked`, `delegation_expired`
   */
  of(agent: AgentFacts): AgentAuthority | undefined;
}

/** Of a daemon without delegation. */
export const NO_AUTHORITY: AuthoritySource = { of: () => undefined };
