/** Checks 16 and 17: the AK's TPM holds exactly this key, made there, never to leave it. */
import type { CertifiedKeyEvidence } from '../../wire/issuance/evidence.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import { publicKeyObject } from '../../wire/public-key.ts';
import type { CertifyAttest } from '../../wire/tpm/attest.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import { publicAreaName } from '../../wire/tpm/name.ts';
import { hasAttributes, type PublicArea } from '../../wire/tpm/public-area.ts';
import { publicAreaToJwk } from '../../wire/tpm/public-key.ts';
import { signingScheme } from '../../wire/tpm/signature.ts';
import type { AttestedKeyType } from './appraisal-policy.ts';
import { presentAttributes, type AttestationKey } from './attestation-key.ts';
import type { Appraisal, Verdict } from './checks.ts';
import { checkSignedAttest } from './signed-attest.ts';

export interface KeyDemands {
  readonly keyTypes: readonly AttestedKeyType[];
  /** Accepted authPolicy digests; an empty one stands for none. */
  readonly authPolicies: readonly Uint8Array[];
}

export interface CertifiedKeyInput {
  readonly what: string;
  readonly ak: AttestationKey;
  /** Parsed from `evidence.public`. */
  readonly area: PublicArea;
  readonly evidence: CertifiedKeyEvidence;
  readonly extraData: Uint8Array;
  readonly demands: KeyDemands;
}

export interface CertifiedKey {
  readonly jwk: PublicJwk;
  readonly attest: CertifyAttest;
}

const REQUIRED = ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'sign'] as const;
const FORBIDDEN = ['restricted', 'decrypt', 'stClear', 'encryptedDuplication'] as const;

/** Host and audit keys: P-256, used by their auth value. */
export const HOST_KEY_DEMANDS: KeyDemands = { keyTypes: ['P-256'], authPolicies: [new Uint8Array()] };

/** Checks 11 to 17 over a key and the AK's Certify of it. @throws KeydError `evidence_invalid` */
export function checkCertifiedKey(appraisal: Appraisal, input: CertifiedKeyInput): CertifiedKey {
  const { what, area, evidence } = input;
  const attest = checkSignedAttest(appraisal, {
    what,
    type: 'certify',
    ak: input.ak,
    attest: evidence.certify.attest,
    signature: evidence.certify.sig,
    extraData: input.extraData,
  });
  appraisal.check(16, (verdict) => {
    if (!sameOctets(attest.name, publicAreaName(evidence.public))) {
      verdict.reject(`${what}: the AK certified an object with another Name than this public area has`);
    }
  });
  const jwk = appraisal.check(17, (verdict) => {
    checkAttributes(what, area, input.demands, verdict);
    const key = publicAreaToJwk(area);
    // Importing it proves that the point is on its curve.
    publicKeyObject(key);
    return key;
  });
  return { jwk, attest };
}

function checkAttributes(what: string, area: PublicArea, demands: KeyDemands, verdict: Verdict): void {
  const missing = REQUIRED.filter((name) => !hasAttributes(area, name));
  if (missing.length > 0) verdict.reject(`${what}: the key is not ${missing.join(', ')}`);
  const wrong = presentAttributes(area, FORBIDDEN);
  if (wrong.length > 0) verdict.reject(`${what}: the key is ${wrong.join(', ')}`);

  const type = area.type === 'ecc' ? area.curve : `RSA-${area.keyBits}`;
  if (!demands.keyTypes.some((accepted) => accepted === type)) {
    verdict.reject(`${what}: ${type} keys are not accepted, only ${demands.keyTypes.join(', ')}`);
  }
  const { hash } = signingScheme(area);
  if (hash !== (type === 'P-384' ? 'sha384' : 'sha256')) {
    verdict.reject(`${what}: the key signs with ${hash}, which is not the hash of ${type} keys`);
  }
  if (!demands.authPolicies.some((digest) => sameOctets(digest, area.authPolicy))) {
    verdict.reject(`${what}: the authPolicy of the key is not one that is demanded`);
  }
  if (area.authPolicy.length > 0 && hasAttributes(area, 'userWithAuth')) {
    verdict.reject(`${what}: the key has a policy but can be used without it (userWithAuth)`);
  }
}
