/** The hardware side of epochs: a counter that nothing sets back (DECISIONS 21). */

/** A counter value, certified. */
export interface AnchorProof {
  readonly value: bigint;
  /** TPMS_ATTEST of TPM2_NV_Certify by the AK, marshalled. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE, marshalled. */
  readonly signature: Uint8Array;
  /** What its extraData binds, 32 octets. */
  readonly head: Uint8Array;
}

export interface EpochCounter {
  /** Whether it was made by this very process: a ledger that knows nothing is then no older copy. */
  readonly isNew: boolean;
  read(): Promise<bigint>;
  /**
   * Increments once, from `expected` to the next, and certifies that value over `head`.
   * @throws KeydError `ledger_rolled_back` where the counter is not at `expected`; those of the TPM
   */
  advance(expected: bigint, head: Uint8Array): Promise<AnchorProof>;
}
