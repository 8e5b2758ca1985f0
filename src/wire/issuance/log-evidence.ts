/**
 * The heads of a host's ledger and audit log, as evidence (check 26): the issuer is the outside witness that tells an
 * older copy of a host's state from the present one (S8). Sent with re-attestation and with every issuance.
 */
import { anchoredHeads } from '../audit-anchor.ts';
import { array, object, octets, optional, type Infer } from '../check.ts';

/** Of a log of 2^63 entries. */
const MAX_PROOF_HASHES = 128;
const MAX_STRUCTURE_OCTETS = 2048;

/** RFC 9162 §2.1.4: that the audit log extends what the issuer last saw of it; empty where it saw nothing. */
const consistency = array(octets({ min: 32, max: 32 }), { max: MAX_PROOF_HASHES });

/** By TPM2_NV_Certify of the enrolled counter; extraData of operation `audit` binds `head`. */
export const auditCounter = object({
  attest: octets({ min: 1, max: MAX_STRUCTURE_OCTETS }),
  sig: octets({ min: 1, max: MAX_STRUCTURE_OCTETS }),
  head: anchoredHeads,
  consistency,
});
export type AuditCounter = Infer<typeof auditCounter>;

/** Of a host without a counter: its own word, signed by its host key with the message. */
export const auditHead = object({ head: anchoredHeads, consistency });
export type AuditHead = Infer<typeof auditHead>;

/** At most one of the two. */
export const logEvidenceMembers = {
  auditCounter: optional(auditCounter),
  auditHead: optional(auditHead),
} as const;
export interface LogEvidence {
  readonly auditCounter?: AuditCounter;
  readonly auditHead?: AuditHead;
}

/** What the issuer last saw of this host, told with a challenge. */
export const witnessMember = { witness: optional(anchoredHeads) } as const;
