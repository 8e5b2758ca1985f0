/** Message A of the issuance protocol: enrolment of a host by its TPM (docs/protocol.md). */
import { array, integer, object, octets, oneOf, optional, text, type Infer } from '../check.ts';
import { canonicalJson } from '../jcs.ts';
import { toJson } from '../json-octets.ts';
import { akId, certifiedKey, compactJws, pcrSelectionJson, quoteEvidence, sessionId } from './evidence.ts';

export const ENROL_PATH = '/v1/attest/enroll';
export const EVIDENCE_PATH = '/v1/attest/evidence';

/** M1: who this TPM says it is. */
export const enrolRequest = object({
  v: integer({ min: 1, max: 1 }),
  ek: object({
    template: oneOf(['L-1', 'L-2', 'H-1', 'H-2', 'H-3', 'H-4', 'H-6', 'H-7']),
    public: octets({ min: 1, max: 2048 }),
    cert: octets({ min: 1, max: 8192 }),
    chain: array(octets({ min: 1, max: 8192 }), { max: 8 }),
  }),
  ak: object({ public: octets({ min: 1, max: 2048 }) }),
  /** A hint for people; nothing is decided by it. */
  tpmInfo: text({ maxLength: 512 }),
  /** Selects a pre-approved group (DECISIONS 11); replaces no check. */
  enrolmentToken: optional(text({ maxLength: 256 })),
});
export type EnrolRequest = Infer<typeof enrolRequest>;

/** M2: a credential that only this EK can open for this AK, and the challenge. */
export const enrolChallenge = object({
  session: sessionId,
  challenge: compactJws,
  credential: object({
    /** TPM2B_ID_OBJECT contents. */
    idObject: octets({ min: 1, max: 1024 }),
    /** TPM2B_ENCRYPTED_SECRET contents. */
    encSecret: octets({ min: 1, max: 1024 }),
  }),
  pcrSelection: pcrSelectionJson,
});
export type EnrolChallenge = Infer<typeof enrolChallenge>;

/** M3: proof of activation, a quote, and the two host keys certified by the AK. */
export const enrolEvidence = object({
  session: sessionId,
  /** HMAC-SHA-256 by the activated secret over `activationMessage`, 32 octets. */
  proof: octets({ min: 32, max: 32 }),
  quote: quoteEvidence,
  hostKey: certifiedKey,
  auditKey: certifiedKey,
  /** TPMS_NV_PUBLIC of the counter under ledger and audit log, where the host has one. */
  nvPublic: optional(octets({ min: 1, max: 256 })),
});
export type EnrolEvidence = Infer<typeof enrolEvidence>;

/** M4 and the answer to re-attestation: the standing of this host. */
export const standing = object({
  akId,
  /** Attestation Result, a signed EAR (JWT). */
  ear: compactJws,
  assurance: oneOf(['hw-platform', 'hw-key', 'asserted', 'software']),
  /** The named development policy that accepted software evidence, if one did. */
  developmentPolicy: optional(text({ maxLength: 128 })),
  /** End of this standing and when to attest again, Unix seconds. */
  expiresAtSeconds: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  reattestAtSeconds: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  host: object({
    label: text({ maxLength: 63, pattern: /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/ }),
    trustDomain: text({ maxLength: 253 }),
    /** Domain of AAuth identifiers. */
    aauthDomain: text({ maxLength: 253 }),
    namePatterns: array(text({ maxLength: 128 }), { max: 64 }),
  }),
});
export type Standing = Infer<typeof standing>;

/** M1 as the octets that activation and extraData bind: JCS (RFC 8785) of its JSON form. */
export function enrolmentOctets(request: EnrolRequest): Uint8Array {
  return Buffer.from(canonicalJson(toJson(request)));
}

/** What enrolment evidence vouches for: M1, both host keys and the counter, JCS. */
export function enrolmentBound(
  request: EnrolRequest,
  hostKey: Uint8Array,
  auditKey: Uint8Array,
  nvPublic: Uint8Array | undefined,
): Uint8Array {
  const counter = nvPublic === undefined ? {} : { nvPublic };
  return Buffer.from(canonicalJson(toJson({ request, hostKey, auditKey, ...counter })));
}
