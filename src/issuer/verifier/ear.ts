/** EAT Attestation Result (draft-ietf-rats-ear-04): the claims; the issuer's EAR key signs them as a JWT. */
import type { AssuranceLevel } from '../../wire/assurance.ts';
import { ATTESTATION_CLAIM, type AttestationClaim } from '../../wire/credential-claims.ts';
import type { Assessment } from './assurance.ts';
import { worstTier, type TrustTier, type TrustworthinessVector } from './trustworthiness.ts';

export const EAR_PROFILE = 'tag:ietf.org,2026:rats/ear#04';
/** RFC 9782 media type `application/eat+jwt`. */
export const EAR_TYP = 'eat+jwt';

/** Submodule names: the host's TPM, and the key a credential is for. */
export const EAR_TPM = 'tpm';
export const EAR_KEY = 'key';

export interface EarInput {
  /** `iss`, and the developer of the Verifier: the issuer's identifier, an https URL. */
  readonly issuer: string;
  /** Name and version of this build. */
  readonly build: string;
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number;
  /** Nonce of the challenge that was answered, base64url. */
  readonly nonce: string;
  readonly akId: string;
  /** TPMS_CLOCK_INFO.resetCount of the boot. */
  readonly resetCount: number;
  readonly tpm: Assessment;
  /** Only where the result is about a key. */
  readonly key?: { readonly assessment: Assessment; readonly thumbprint: string };
}

export interface EarAppraisal {
  readonly ear_status: TrustTier;
  readonly ear_appraisal_policy_ids: readonly string[];
  readonly ear_trustworthiness_vector?: TrustworthinessVector;
}

export interface EarClaims {
  readonly eat_profile: typeof EAR_PROFILE;
  readonly iss: string;
  readonly iat: number;
  readonly exp: number;
  readonly eat_nonce: string;
  readonly ear_verifier_id: { readonly developer: string; readonly build: string };
  readonly ear_status: TrustTier;
  readonly submods: Readonly<Record<string, EarAppraisal>>;
  /** RFC 7800: the key the result is about. */
  readonly cnf?: { readonly jkt: string };
  readonly [ATTESTATION_CLAIM]: AttestationClaim;
}

/** The claims of an Attestation Result; its status is that of the worst submodule. */
export function earClaims(input: EarInput): EarClaims {
  const { tpm, key } = input;
  const submods = {
    [EAR_TPM]: appraisal(tpm),
    ...(key === undefined ? {} : { [EAR_KEY]: appraisal(key.assessment) }),
  };
  return {
    eat_profile: EAR_PROFILE,
    iss: input.issuer,
    iat: input.issuedAtSeconds,
    exp: input.expiresAtSeconds,
    eat_nonce: input.nonce,
    ear_verifier_id: { developer: input.issuer, build: input.build },
    ear_status: worstTier(Object.values(submods).map(({ ear_status }) => ear_status)),
    submods,
    ...(key === undefined ? {} : { cnf: { jkt: key.thumbprint } }),
    [ATTESTATION_CLAIM]: attestationClaimOf(input),
  };
}

/** The short form that EAR, WIT and agent token carry alike (without `earHash`, which the EAR can not have). */
export function attestationClaimOf(
  input: Pick<EarInput, 'akId' | 'resetCount' | 'tpm' | 'key'>,
): AttestationClaim {
  const subject = input.key?.assessment ?? input.tpm;
  const developmentPolicy = subject.developmentPolicy ?? input.tpm.developmentPolicy;
  const [policy] = subject.policyIds;
  const level: AssuranceLevel = subject.level;
  return {
    level,
    ...(input.tpm.virtual ? { virtual: true } : {}),
    akId: input.akId,
    resetCount: input.resetCount,
    ...(policy === undefined ? {} : { policy }),
    ...(developmentPolicy === undefined ? {} : { developmentPolicy }),
  };
}

function appraisal({ tier, policyIds, vector }: Assessment): EarAppraisal {
  return {
    ear_status: tier,
    ear_appraisal_policy_ids: policyIds,
    ...(Object.keys(vector).length === 0 ? {} : { ear_trustworthiness_vector: vector }),
  };
}
