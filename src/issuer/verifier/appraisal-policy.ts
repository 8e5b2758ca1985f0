/** What the operator decides about Evidence (RATS: Appraisal Policy for Evidence). No decision has a default. */
import type { X509Fields } from '../../wire/x509.ts';
import type { TpmModelPolicy } from './ek-certificate.ts';
import type { EndorsementRoot } from './endorsement-roots.ts';
import type { RevocationList } from './revocation-list.ts';

/** Kinds of TPM key that may get credentials; RSA costs a TPM up to a minute and is off unless named (S20). */
export type AttestedKeyType = 'P-256' | 'P-384' | 'RSA-2048' | 'RSA-3072';

export interface FirmwareFloor {
  /** TCG vendor id as in the EK certificate, `id:` and 8 upper-case hex digits. */
  readonly manufacturer: string;
  /** Any model of the manufacturer where absent. */
  readonly model?: string;
  /** TPMS_ATTEST.firmwareVersion; lower ones are refused. */
  readonly minimum: bigint;
}

export interface AppraisalPolicy {
  /** Name that Attestation Results and credentials carry, e.g. a URN. */
  readonly id: string;
  readonly roots: readonly EndorsementRoot[];
  /** CAs between EK certificates and roots, beside those that hosts send. Untrusted. */
  readonly intermediates: readonly X509Fields[];
  readonly revocationLists: readonly RevocationList[];
  readonly expiredEkCertificate: 'accept' | 'refuse';
  readonly models: TpmModelPolicy;
  readonly firmwareFloors: readonly FirmwareFloor[];
  readonly keyTypes: readonly AttestedKeyType[];
  /**
   * authPolicy digests that agent keys may have; an empty one stands for a key used by its auth value. A policy
   * that is demanded of every key is a list without the empty one.
   */
  readonly keyAuthPolicies: readonly Uint8Array[];
  /** Whether a TPM whose counters went back (TPM2_Clear, or a rollback that looks like one) may enrol again. */
  readonly clearedTpm: 'accept' | 'refuse';
  /** The only thing that lets test roots and software tokens through, by name; every result then names it. */
  readonly development: { readonly name: string } | undefined;
}
