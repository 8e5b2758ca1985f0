/**
 * What the routes need of the rest of the daemon. `daemon/compose.ts` injects implementations, so that
 * the socket room knows no backend, no store and no issuer.
 */
import type { Caller } from '../caller/caller.ts';
import type { Approval, PendingApproval } from '../policy/approval-desk.ts';
import type {
  BudgetHistoryView,
  BudgetView,
  SettlementRequest,
  TopUpRequest,
} from '../wire/socket/budget.ts';
import type {
  AgentView,
  CreateAgentRequest,
  CredentialsView,
  RotateAgentRequest,
  ThirdPartyQuote,
} from '../wire/socket/agents.ts';
import type { CommandAuditDoubt, CommandAuditEffect } from '../wire/command-audit.ts';
import type { DelegateReply, DelegateRequest } from '../wire/socket/delegations.ts';
import type {
  CsrRequest,
  DpopRequest,
  HttpMessageReply,
  HttpMessageRequest,
  JwtRequest,
  RawRequest,
} from '../wire/socket/signing.ts';

/** Approvals that policies ask for (S12). */
export interface ApprovalApi {
  list(caller: Caller): Promise<readonly Approval[]>;
  decide(caller: Caller, approval: string, decision: 'allow' | 'deny'): Promise<Approval>;
  /** The answer of the call once it is allowed, or the pending approval. */
  collect(caller: Caller, approval: string, signal: AbortSignal): Promise<unknown>;
}

export interface PolicyView {
  /** SHA-256 of the set and its schema, lower-case hex. */
  readonly fingerprint: string;
  readonly version: number;
  readonly files: readonly string[];
  readonly policies: readonly string[];
  /** Candidate sets that are judged beside it. */
  readonly observed: readonly string[];
}

export interface PolicyApi {
  show(caller: Caller): Promise<PolicyView>;
  /** With a fault in any file the set in force stays, and the answer names every fault. */
  reload(caller: Caller): Promise<PolicyView>;
}

export interface AuditApi {
  /** A fresh checkpoint and the key that signed it. */
  checkpoint(): Promise<{ readonly checkpoint: string; readonly publicJwk: unknown }>;
  entries(caller: Caller, from: number, limit: number): Promise<unknown>;
  inclusion(caller: Caller, index: number): Promise<unknown>;
  consistency(caller: Caller, first: number, second: number): Promise<unknown>;
}

export interface BudgetApi {
  show(caller: Caller, agent: string): Promise<readonly BudgetView[]>;
  topUp(caller: Caller, agent: string, request: TopUpRequest): Promise<readonly BudgetView[]>;
  /** Gives back what a signature did not cost, where that is proven. */
  settle(caller: Caller, agent: string, request: SettlementRequest): Promise<readonly BudgetView[]>;
  /** @param before index that entries stand before; undefined for the newest */
  history(
    caller: Caller,
    agent: string,
    before: number | undefined,
    limit: number,
  ): Promise<BudgetHistoryView>;
  acceptRollback(caller: Caller): Promise<{ readonly epoch: string }>;
}

/** Rejects with KeydError; `signal` aborts when the caller has gone. */
export interface SigningApi {
  httpMessage(
    caller: Caller,
    agent: string,
    request: HttpMessageRequest,
    signal: AbortSignal,
  ): Promise<HttpMessageReply | PendingApproval>;
  dpop(
    caller: Caller,
    agent: string,
    request: DpopRequest,
    signal: AbortSignal,
  ): Promise<{ readonly proof: string } | PendingApproval>;
  jwt(
    caller: Caller,
    agent: string,
    request: JwtRequest,
    signal: AbortSignal,
  ): Promise<{ readonly jwt: string } | PendingApproval>;
  csr(
    caller: Caller,
    agent: string,
    request: CsrRequest,
    signal: AbortSignal,
  ): Promise<{ readonly csr: string } | PendingApproval>;
  raw(
    caller: Caller,
    agent: string,
    request: RawRequest,
    signal: AbortSignal,
  ): Promise<{ readonly signature: string } | PendingApproval>;
}

/** What retiring erased (S15). */
export interface RetirementView {
  readonly erased: 'hardware' | 'local-copies';
  readonly statement: string;
}

export interface AgentApi {
  list(caller: Caller): Promise<readonly AgentView[]>;
  show(caller: Caller, agent: string): Promise<AgentView>;
  create(caller: Caller, request: CreateAgentRequest): Promise<AgentView>;
  rotate(caller: Caller, agent: string, request: RotateAgentRequest): Promise<AgentView>;
  retire(caller: Caller, agent: string): Promise<RetirementView>;
  /** TSS2 PRIVATE KEY PEM without its auth; admin socket only (DECISIONS 13). */
  exportTss2(caller: Caller, agent: string): Promise<string>;
}

export interface DelegationApi {
  /** Makes sub-agents; the answer to come may need a person's approval first. */
  delegate(
    caller: Caller,
    agent: string,
    request: DelegateRequest,
    context: { readonly signal: AbortSignal; readonly connection: AbortSignal },
  ): Promise<DelegateReply | PendingReply>;
  /** Direct sub-agents. */
  list(caller: Caller, agent: string): Promise<readonly AgentView[]>;
  /** Compact tokens, DT₀ first. */
  chain(caller: Caller, agent: string): Promise<readonly string[]>;
  /** Ends a sub-agent and all below it. */
  revoke(caller: Caller, agent: string): Promise<RetirementView>;
}

/** What has to be allowed by a person before the call is done; the approval desk says what it looks like. */
export type PendingReply = object;

export interface CredentialApi {
  show(caller: Caller, agent: string): Promise<CredentialsView>;
  /** Asks the issuer now; answers when it has answered. */
  renew(caller: Caller, agent: string): Promise<CredentialsView>;
}

export interface HostApi {
  /** Signed by the AK; policy-gated. */
  quote(
    caller: Caller,
    request: { audience: string; nonce: string; pcrs?: readonly number[] },
  ): Promise<ThirdPartyQuote>;
  /** Enrols now (admin socket); answers with the standing. */
  enrol(caller: Caller): Promise<HostStatus>;
  /** Takes the present TPM for this host's own after `tpm_cleared` or `tpm_replaced` (admin socket); earlier keys are lost. */
  adoptTpm(caller: Caller): Promise<HostStatus>;
  status(): Promise<DaemonStatus>;
}

export interface HostStatus {
  readonly state: 'not-configured' | 'not-enrolled' | 'enrolled' | 'attestation-failing';
  readonly issuer: string | null;
  /** SHA-256 of the EK's TPMT_PUBLIC, lower-case hex: what an operator approves in hosts.toml. */
  readonly ekSha256: string | null;
  readonly akId: string | null;
  readonly label: string | null;
  readonly assurance: string | null;
  readonly developmentPolicy: string | null;
  readonly standingExpiresAt: string | null;
  readonly lastFault: string | null;
}

export interface LedgerStatus {
  readonly epoch: string;
  /** Why nothing that costs something is signed. */
  readonly fault: string | null;
  readonly counter: {
    readonly index: string;
    readonly value: string;
    /** Increments in a year, at the rate since it came into use. */
    readonly writesPerYear: number;
  } | null;
}

/** What the TPM's command audit said last. */
export interface CommandAuditStatus {
  readonly effect: CommandAuditEffect;
  readonly reason: CommandAuditDoubt | null;
  /** Index of the entry of the audit log that tells it. */
  readonly entry: number;
  /** RFC 3339. */
  readonly at: string;
  /** Entry that first told of a signature outside the daemon since it started. */
  readonly signedOutside: number | null;
}

export interface DaemonStatus {
  readonly version: string;
  readonly state: 'ready' | 'degraded' | 'draining';
  readonly backends: readonly Readonly<Record<string, unknown>>[];
  readonly host: HostStatus;
  readonly queue: { readonly waiting: number; readonly running: number };
  readonly rollback: 'tpm' | 'witnessed' | 'unprotected';
  readonly ledger: LedgerStatus;
  /** Null where it is off, or the TPM was not asked yet. */
  readonly commandAudit: CommandAuditStatus | null;
  readonly agents: number;
}
