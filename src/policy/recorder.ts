/**
 * What is kept of every decision. A signature is released only after `decision` has resolved; `outcome`
 * follows (S16). The audit log implements this; nothing in an entry is a secret, a token or a body.
 */
import type { Caller } from '../caller/caller.ts';
import type { ErrorCode } from '../wire/problem.ts';
import type { Intent } from '../wire/socket/intent.ts';
import type { AgentAuthority } from './authority.ts';
import type { Decision } from './decision.ts';
import type { Charge } from './counters.ts';
import type { ActionRequest, AgentFacts, SigningOperation } from './proposal.ts';

export interface DecisionEntry {
  readonly caller: Caller;
  readonly decision: Decision;
  readonly action: SigningOperation | ActionRequest['action'];
  /** Absent where there is no agent, or not yet. */
  readonly agent?: AgentFacts;
  /** SHA-256 of what would be signed, lower-case hex. */
  readonly octetsSha256?: string;
  /** What a reader needs to understand the request: method, origin, path, typ, audience, names. */
  readonly parameters: Readonly<Record<string, string | number | readonly string[]>>;
  /** On whose behalf, and through whom. */
  readonly authority?: Pick<AgentAuthority, 'principal' | 'grantId' | 'depth' | 'links'>;
  /** The caller's word, recorded as such. */
  readonly intent?: Intent;
  /** What was reserved, and under which id its settlement is told. */
  readonly reservation?: { readonly id: string; readonly charges: readonly Charge[] };
  /** Why it was refused. */
  readonly refusal?: ErrorCode;
}

export type OutcomeEntry =
  | { readonly effect: 'done'; readonly signatureSha256?: string; readonly settlement?: Settlement }
  | { readonly effect: 'failed'; readonly code: ErrorCode; readonly settlement?: Settlement };

/** What became of a reservation. */
export type Settlement = 'committed' | 'released';

/** The handle of one recorded decision. */
export interface RecordedDecision {
  /** Must not throw: what happened has happened. */
  outcome(entry: OutcomeEntry): void;
}

export interface Recorder {
  /** Resolves when the entry is as durable as this recorder makes it; a rejection stops the signature. */
  decision(entry: DecisionEntry): Promise<RecordedDecision>;
}
