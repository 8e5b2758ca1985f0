/** What the issuer writes into the tokens it signs and `verify` reads from them: names and shapes in one place. */
import { ASSURANCE_LEVELS } from './assurance.ts';
import { boolean, integer, object, oneOf, optional, text, type Infer } from './check.ts';

/** Workload Identity Token (draft-ietf-wimse-s2s-protocol). */
export const WIT_TYP = 'wit+jwt';
/** Header field that carries a WIT. */
export const WIT_HEADER = 'workload-identity-token';
/** Workload Proof Token (draft-ietf-wimse-wpt), and the header field that carries one. */
export const WPT_TYP = 'wpt+jwt';
export const WPT_HEADER = 'workload-proof-token';
/** AAuth agent token, and the metadata document its `dwk` claim names. */
export const AGENT_TOKEN_TYP = 'aa-agent+jwt';
export const AGENT_TOKEN_DWK = 'aauth-agent.json';

/** Claim of WIT and agent token that says what is proven about the key. */
export const ATTESTATION_CLAIM = 'urn:agentkeyd:attestation';

/** The Attestation Result in short; the EAR has it in full. */
export const attestationClaim = object({
  level: oneOf(ASSURANCE_LEVELS),
  /** The TPM is a cloud provider's virtual one. */
  virtual: optional(boolean),
  akId: optional(text({ maxLength: 128 })),
  /** TPMS_CLOCK_INFO.resetCount at issuance. */
  resetCount: optional(integer({ min: 0, max: 0xffff_ffff })),
  /** Appraisal policy by name. */
  policy: optional(text({ maxLength: 128 })),
  /** Set where a development policy let a contraindicated host through. */
  developmentPolicy: optional(text({ maxLength: 128 })),
  /** SHA-256 of the EAR's compact form, base64url. */
  earHash: optional(text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ })),
  /** Thumbprint of the parent's key, for a sub-agent. */
  parent: optional(text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ })),
});
export type AttestationClaim = Infer<typeof attestationClaim>;
