/** A counter in hardware that nothing sets back, not even whoever may read and write all of the daemon's state. */
import type { SignedAttest } from './attester.ts';

export interface CounterReading {
  readonly value: bigint;
  /** Whether it never moved since it was made: nothing can have been spent under it. */
  readonly isNew: boolean;
  /** TPMS_NV_PUBLIC, marshalled. */
  readonly nvPublic: Uint8Array;
}

export interface CertifiedCounter extends SignedAttest {
  readonly value: bigint;
}

/** What is remembered of the counter; it is the only thing that tells it from another in its place. */
export interface RememberedCounter {
  /** `defining`: it is being made, and has never been incremented. */
  readonly state: 'defining' | 'in-use';
  readonly nvIndex: number;
  /** Its value when it came into use here, decimal, and when that was. */
  readonly sinceValue?: string;
  readonly sinceMs: number;
  /** It came by an operator's word: what was spent before is not known to it. */
  readonly isAdopted?: boolean;
}

/** A resolved `save` is durable. */
export interface CounterMemory {
  load(): Promise<RememberedCounter | undefined>;
  save(counter: RememberedCounter): Promise<void>;
}

/** Calls reject with KeydError `tpm_counter_gone`, `tpm_counter_foreign`, and the other `tpm_*`. */
export interface MonotonicCounter {
  /** The present value; makes the counter where there has never been one. */
  read(): Promise<CounterReading>;
  /** One up, from `expected`. @throws KeydError `ledger_rolled_back` where it is elsewhere */
  increment(expected: bigint): Promise<void>;
  /** TPM2_NV_Certify by the AK; `qualifyingData` becomes extraData (32 octets). */
  certify(qualifyingData: Uint8Array): Promise<CertifiedCounter>;
  /** An operator's word: the counter counts as it is now, or is made anew where it is gone. */
  adopt(): Promise<CounterReading>;
}
