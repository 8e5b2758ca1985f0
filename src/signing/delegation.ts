/** Delegations as the daemon keeps them, and where they are kept. */
import type { BackendKind } from '../backend/backend.ts';
import type { Constraint } from '../delegation/constraint.ts';
import type { Agent, AgentKey, NameClaim } from './agent.ts';

/** What a sub-agent may do at most, for as long as its delegation lives; every link of it says the same. */
export interface DelegationTerms {
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
  /** All of the parent's, each no wider, and what was added. */
  readonly constraints: readonly Constraint[];
  readonly maxDepth: number;
}

/** Where others learn that a link was revoked (draft-ietf-oauth-status-list §6). */
export interface StatusReference {
  readonly idx: number;
  readonly uri: string;
}

export interface Delegation {
  /** The sub-agent, and the agent whose key signs its links. */
  readonly agentId: string;
  readonly parentId: string;
  readonly terms: DelegationTerms;
  readonly createdAtMs: number;
  /** When it ends for good; its links end earlier and are renewed. */
  readonly endsAtMs: number;
  /** Ends with the connection that made it; never written. */
  readonly ephemeral: boolean;
  /** Compact tokens from DT₀ to the sub-agent's own link. */
  readonly chain: readonly string[];
  readonly status: StatusReference | undefined;
  /** Whether the ledger keeps an account for it. */
  readonly allocated: boolean;
}

/** A sub-agent and its delegation, which begin together. */
export interface SubAgent {
  readonly agent: Agent;
  readonly delegation: Delegation;
}

/** A key that is still in hardware and belongs to nobody any more. */
export interface DoomedKey {
  readonly keyId: string;
  readonly backend: BackendKind;
}

/** What is left to do for a delegation that has ended, or for a grant that is revoked. */
export interface DelegationEnd {
  /** Of a grant, the thumbprint of the key it was given to. */
  readonly agentId: string;
  /** From then on what it did not spend is its parent's again. */
  readonly releaseAtMs: number;
  /** To be published as revoked. */
  readonly status: StatusReference | undefined;
  /** Its account is closed. */
  readonly closed: boolean;
}

/** Durable delegations, but for ephemeral ones. A returned write is on disk. */
export interface DelegationStore {
  list(): readonly Delegation[];
  find(agentId: string): Delegation | undefined;
  /** Direct sub-agents. */
  childrenOf(parentId: string): readonly Delegation[];
  /** All below an agent, parents before their children. */
  descendantsOf(agentId: string): readonly Delegation[];
  /**
   * Claims names before hardware makes keys, and remembers accounts that are about to be opened, so that a
   * crash leaves neither behind; all or none. @throws KeydError `name_in_use`
   */
  prepare(claims: readonly NameClaim[], accountsOf: readonly string[]): void;
  /** What was prepared does not begin: its names are free again, its accounts left to be closed. */
  abandon(agentIds: readonly string[]): void;
  /** Sub-agents and their delegations begin, all or none. */
  add(made: readonly SubAgent[]): void;
  /** A new link, on other terms where they are given. */
  renew(agentId: string, chain: readonly string[], terms?: DelegationTerms): void;
  /** A new key and the link for it. */
  rekey(agentId: string, key: AgentKey, chain: readonly string[], status: StatusReference | undefined): void;
  /**
   * Agents are retired, their delegations end and their keys are doomed, all at once; what is left to do is
   * remembered until it is done.
   */
  end(agentIds: readonly string[], releaseAtMs: number): void;
  /** Remembers that this is to be published as revoked. @param kid of the key it was given to */
  revokeLater(kid: string, status: StatusReference): void;
  /** Keys to destroy, those of ephemeral sub-agents of an earlier process included. */
  doomedKeys(): readonly DoomedKey[];
  /** The key is gone from its hardware. */
  destroyed(keyId: string): void;
  ends(): readonly DelegationEnd[];
  closed(agentId: string): void;
  published(agentId: string): void;
  /** The next number of an ephemeral sub-agent below this agent; never given twice, restarts included. */
  nextEphemeral(parentId: string): number;
}

/** The ledger as far as delegating needs it. Amounts are whole numbers of the unit's smallest part. */
export interface Allocations {
  /** The ceilings of an account that has no parent, by unit; in memory before it returns. */
  openGrant(account: string, budgets: ReadonlyMap<string, bigint>): Promise<void>;
  /**
   * Takes from the parent's free balances what the child is given, in memory before it returns.
   * @throws KeydError `budget_exceeded`, `ledger_*`
   */
  allocate(parent: string, child: string, budgets: ReadonlyMap<string, bigint>): Promise<void>;
  /** Gives back what is unspent once the last signature has ended; an account that is not there is closed. */
  close(account: string, releaseAtMs: number): Promise<void>;
}

/** Revocation for others: an index on the issuer's status list for each delegation. */
export interface StatusIndices {
  allocate(count: number): Promise<readonly StatusReference[]>;
  /** Resolves when the issuer has it. */
  revoke(references: readonly StatusReference[]): Promise<void>;
}

const DELEGATION = 'delegation:';

/** Where the ledger keeps what an agent may spend. */
export function rootAccount(grantId: string): string {
  return `grant:${grantId}`;
}

export function delegationAccount(agentId: string): string {
  return `${DELEGATION}${agentId}`;
}

/** The sub-agent whose account it is; undefined for that of a grant. */
export function delegatedAgent(account: string): string | undefined {
  return account.startsWith(DELEGATION) ? account.slice(DELEGATION.length) : undefined;
}
