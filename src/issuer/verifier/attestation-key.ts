/** Checks 8 and 9: the AK is one that signs only what its TPM made, and its Name is computed, never taken. */
import { sameOctets } from '../../wire/tpm/codec.ts';
import { TPM_RH, type ObjectAttribute } from '../../wire/tpm/constants.ts';
import { primaryQualifiedName, publicAreaName } from '../../wire/tpm/name.ts';
import { attributeNames, hasAttributes, type PublicArea } from '../../wire/tpm/public-area.ts';
import type { Appraisal } from './checks.ts';

export interface AttestationKey {
  readonly area: PublicArea;
  readonly name: Uint8Array;
  /** Lower-case hex of the Name: what the protocol calls `akId`. */
  readonly akId: string;
  /** Its Qualified Name as a primary of the endorsement hierarchy, where TPMs tell their true counts. */
  readonly qualifiedName: Uint8Array;
}

/** Without `restricted` an AK signs any octets, a forged TPMS_ATTEST among them. */
const REQUIRED = ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'sign'] as const;
const FORBIDDEN = ['decrypt', 'stClear', 'encryptedDuplication'] as const;

/**
 * @param octets TPMT_PUBLIC as received; the Name covers exactly these
 * @param akId the Name that is on record, where the AK is enrolled
 */
export function checkAttestationKey(
  appraisal: Appraisal,
  area: PublicArea,
  octets: Uint8Array,
  akId?: string,
): AttestationKey {
  appraisal.check(8, (verdict) => {
    const missing = REQUIRED.filter((name) => !hasAttributes(area, name));
    if (missing.length > 0) verdict.reject(`the AK is not ${missing.join(', ')}`);
    const wrong = presentAttributes(area, FORBIDDEN);
    if (wrong.length > 0) verdict.reject(`the AK is ${wrong.join(', ')}`);
    if (area.type !== 'ecc' || area.curve !== 'P-256') verdict.reject('the AK is no P-256 key');
    if (area.scheme?.scheme !== 'ecdsa' || area.scheme.hash !== 'sha256') {
      verdict.reject('the scheme of the AK is not fixed to ECDSA with SHA-256');
    }
    if (area.nameAlg !== 'sha256')
      verdict.reject(`the Name of the AK is made with ${area.nameAlg}, not sha256`);
  });
  return appraisal.check(9, (verdict) => {
    const name = publicAreaName(octets);
    const computed = Buffer.from(name).toString('hex');
    if (akId !== undefined && akId !== computed) verdict.reject('the AK is not the one with this Name');
    return { area, name, akId: computed, qualifiedName: primaryQualifiedName(TPM_RH.ENDORSEMENT, name) };
  });
}

/** Those of `names` that are set. */
export function presentAttributes(
  area: PublicArea,
  names: readonly ObjectAttribute[],
): readonly ObjectAttribute[] {
  return attributeNames(area.attributes).filter((name) => names.includes(name));
}

/** Check 15: the signer is this AK under the endorsement hierarchy, not its like under owner or null. */
export function isSigner(ak: AttestationKey, qualifiedSigner: Uint8Array): boolean {
  return sameOctets(ak.qualifiedName, qualifiedSigner);
}
