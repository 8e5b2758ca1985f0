/** The hardware side of epochs: a counter that nothing sets back (DECISIONS 21). */

/** A counter value, certified. */
export interface AnchorProof {
  readonly value: bigint;
  /** TPMS_ATTEST of TPM2_NV_Certify by the AK, marshalled. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE, marshalled. */
  readonly signature: Uint8Array;
  /** What its extraData binds: JCS of the heads (wire/audit-anchor.ts). */
  readonly bound: Uint8Array;
}

export interface EpochCounter {
  /** Whether it never moved since it was made: a ledger that knows nothing is then no older copy. */
  readonly isNew: boolean;
  read(): Promise<bigint>;
  /**
   * Increments once, from `expected` to the next, and certifies that value over `bound`.
   * @throws KeydError `ledger_rolled_back` where the counter is not at `expected`; those of the TPM
   */
  advance(expected: bigint, bound: Uint8Array): Promise<AnchorProof>;
  /** An operator's word: takes the counter as it is, or makes it anew where it is gone; its value. */
  adopt(): Promise<bigint>;
}
