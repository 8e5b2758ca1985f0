/** Whether a ledger may be spent from: only once it was compared with the counter, and while nobody knows better. */
import { setTimeout as delay } from 'node:timers/promises';
import { asKeydError, KeydError, type ErrorCode } from '../wire/problem.ts';

/** Faults that an operator's word ends: the ledger counts as it is, and the counter as it is. */
const ACCEPTABLE: ReadonlySet<ErrorCode> = new Set([
  'ledger_rolled_back',
  'tpm_counter_gone',
  'tpm_counter_foreign',
]);
/** Faults that trying again would not mend, or could make worse (S20). */
const LASTING: ReadonlySet<ErrorCode> = new Set([...ACCEPTABLE, 'tpm_auth_failed', 'tpm_lockout']);

export class LedgerHealth {
  readonly #compare: () => Promise<void>;
  /** Of the comparison with the counter. */
  #fault: KeydError | undefined = new KeydError(
    'ledger_unavailable',
    'the ledger has not been compared with the TPM’s counter yet',
    { retryAfterSeconds: 1 },
  );
  /** Of a witness. */
  #distrust: KeydError | undefined;
  #comparing: Promise<void> | undefined;

  /** @param compare rejects where the ledger is not the one that the counter last saw */
  constructor(compare: () => Promise<void>) {
    this.#compare = compare;
  }

  /** Why nothing can be spent; undefined while all is well. */
  get fault(): KeydError | undefined {
    return this.#distrust ?? this.#fault;
  }

  /** Whether another comparison may find all well: the counter could not be read. */
  get mayMend(): boolean {
    return this.#fault !== undefined && !LASTING.has(this.#fault.code);
  }

  /** @throws KeydError the fault */
  require(): void {
    if (this.fault !== undefined) throw this.fault;
  }

  /** Compares; what is found is the fault from then on, and no rejection. */
  compare(): Promise<void> {
    this.#comparing ??= this.#compareNow().finally(() => {
      this.#comparing = undefined;
    });
    return this.#comparing;
  }

  /** As `compare`, but waits no longer than this; it then goes on by itself. */
  async compareWithin(timeoutMs: number | undefined): Promise<void> {
    if (timeoutMs === undefined) return this.compare();
    const waiting = new AbortController();
    const timeout = delay(timeoutMs, undefined, { signal: waiting.signal }).catch(() => undefined);
    await Promise.race([this.compare(), timeout]);
    waiting.abort();
  }

  /** Somebody else knows this ledger to be an older copy. */
  distrust(fault: KeydError): void {
    this.#distrust = fault;
  }

  /** An error on the way to the counter: where it says that the counter is lost, or elsewhere, nothing is spent any more. */
  learn(error: KeydError): void {
    if (ACCEPTABLE.has(error.code)) this.#distrust = error;
  }

  /** Ends the fault by `accept`. @throws KeydError `conflict` where there is none that an operator could end */
  async accept(accept: () => Promise<void>): Promise<void> {
    const { fault } = this;
    if (fault === undefined || !ACCEPTABLE.has(fault.code)) {
      throw new KeydError('conflict', fault === undefined ? 'the ledger was not set back' : fault.message);
    }
    await accept();
    this.#fault = undefined;
    this.#distrust = undefined;
  }

  async #compareNow(): Promise<void> {
    try {
      await this.#compare();
      this.#fault = undefined;
    } catch (thrown) {
      this.#fault = asKeydError(thrown);
    }
  }
}
