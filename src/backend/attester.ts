/** Attestation by a TPM: what `issuance` asks of the hardware beyond signing. RATS word: Attesting Environment. */
import type { EkTemplateName } from '../wire/tpm/templates.ts';
import type { PcrSelection } from '../wire/tpm/pcr-selection.ts';

/** A signed TPM structure: TPMS_ATTEST and TPMT_SIGNATURE, both as marshalled octets. */
export interface SignedAttest {
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

export interface EndorsementKey {
  readonly template: EkTemplateName;
  /** TPMT_PUBLIC, marshalled. */
  readonly publicArea: Uint8Array;
  /** EK certificate, DER as read from NV (padding removed). */
  readonly certificate: Uint8Array;
}

export interface QuotedPcrs extends SignedAttest {
  /** PCR values in selection order. */
  readonly pcrs: readonly Uint8Array[];
}

export interface CertifiedKey extends SignedAttest {
  /** TPMT_PUBLIC of the certified key, marshalled. */
  readonly publicArea: Uint8Array;
}

/** The identity of this TPM, for telling reset, cleared and replaced apart. */
export interface TpmIdentity {
  readonly manufacturer: string;
  readonly vendor: string;
  readonly firmwareVersion: string;
  readonly resetCount: number;
  readonly restartCount: number;
  /** Name of the SRK, hex. */
  readonly srkName: string;
}

/** Calls reject with KeydError `tpm_*` or `key_not_found`. */
export interface Attester {
  identity(): Promise<TpmIdentity>;
  /** EKs of this TPM that have a certificate, preferred first. */
  endorsementKeys(): Promise<readonly EndorsementKey[]>;
  /** TPMT_PUBLIC of the AK: P-256 restricted primary in the endorsement hierarchy. */
  attestationKey(): Promise<Uint8Array>;
  /** TPM2_ActivateCredential with the named EK; `idObject` and `encSecret` are TPM2B contents. */
  activateCredential(
    template: EkTemplateName,
    idObject: Uint8Array,
    encSecret: Uint8Array,
  ): Promise<Uint8Array>;
  /** TPMT_PUBLIC of a key of this backend. */
  publicArea(keyId: string): Promise<Uint8Array>;
  /** TPM2_Certify by the AK over a key of this backend; `qualifyingData` becomes extraData (32 octets). */
  certify(keyId: string, qualifyingData: Uint8Array): Promise<CertifiedKey>;
  /** TPM2_Quote by the AK. */
  quote(selection: PcrSelection, qualifyingData: Uint8Array): Promise<QuotedPcrs>;
}
