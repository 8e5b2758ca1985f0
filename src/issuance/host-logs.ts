/** What issuance needs of ledger and audit log, which it does not know: their heads as evidence (check 26). */
import type { AnchoredHeads } from '../wire/audit-anchor.ts';
import type { LogEvidence } from '../wire/issuance/log-evidence.ts';

export interface HostLogs {
  /** TPMS_NV_PUBLIC of the counter under them; undefined on a host without one. @throws KeydError `tpm_*` */
  nvPublic(): Promise<Uint8Array | undefined>;
  /**
   * @param witness what the issuer last saw; undefined where it saw nothing
   * @param extraData of a certificate that binds these octets
   * @throws KeydError `ledger_rolled_back` where the witness has seen what these logs do not have, from then on for
   *   whatever is spent as well; `ledger_*`, `tpm_*`
   */
  evidence(
    witness: AnchoredHeads | undefined,
    extraData: (bound: Uint8Array) => Uint8Array,
  ): Promise<LogEvidence>;
  /** The issuer has seen what `evidence` gave. */
  seen(): void;
}
