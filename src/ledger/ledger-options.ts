/** What a ledger is opened with, and what it says of itself. */
import type { JournalStep } from '../base/journal.ts';
import type { KeydError } from '../wire/problem.ts';
import type { AnchorProof, EpochCounter } from './epoch-counter.ts';
import type { AuditHead } from './epochs.ts';

export interface LedgerOptions {
  readonly directory: string;
  /** Of the TPM; without one nothing tells an older copy of the state from this one. */
  readonly counter: EpochCounter | undefined;
  readonly auditHead?: () => AuditHead;
  /** Told of every certified counter value. */
  readonly onAnchor?: (proof: AnchorProof) => void;
  /** Absolute leases by unit; a 32nd of the purse where a unit has none. */
  readonly leases?: ReadonlyMap<string, bigint>;
  readonly now?: () => number;
  /** Records after which a snapshot takes the place of all before it. */
  readonly compactAfter?: number;
  /** Told where what a snapshot replaced could not be removed; nothing else suffers. */
  readonly onProblem?: (error: KeydError) => void;
  /** How long opening waits for the counter; it then goes on in the background. For ever where absent. */
  readonly startTimeoutMs?: number;
  /** Called between durable steps, so that a test can fail, copy or kill there. */
  readonly fault?: (step: JournalStep, size: number) => void;
}

export interface LedgerState {
  readonly epoch: bigint;
  /** base64url SHA-256 over all records. */
  readonly head: string;
  /** Why nothing can be spent; undefined while all is well. */
  readonly fault: KeydError | undefined;
}
