/**
 * What is kept of every decision. A signature is released only after `decision` has resolved; `outcome`
 * follows (S16). The audit log implements this; nothing in an entry is a secret, a token or a body.
 */
import type { Caller } from '../caller/caller.ts';
import type { ErrorCode } from '../wire/problem.ts';
import type { Decision } from './authorize.ts';
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
  /** Why it was refused. */
  readonly refusal?: ErrorCode;
}

export type OutcomeEntry =
  | { readonly effect: 'done'; readonly signatureSha256?: string }
  | { readonly effect: 'failed'; readonly code: ErrorCode };

/** The handle of one recorded decision. */
export interface RecordedDecision {
  /** Must not throw: what happened has happened. */
  outcome(entry: OutcomeEntry): void;
}

export interface Recorder {
  /** Resolves when the entry is as durable as this recorder makes it; a rejection stops the signature. */
  decision(entry: DecisionEntry): Promise<RecordedDecision>;
}
