/**
 * What an attacker without a TPM writes: software keys that claim every attribute, and TPM statements about them
 * in any shape. Used where a real TPM refuses to make the lie.
 */
import { createHash, randomBytes, sign, type KeyObject } from 'node:crypto';
import {
  serializeAttest,
  type CertifyAttest,
  type ClockInfo,
  type QuoteAttest,
} from '../../src/wire/tpm/attest.ts';
import { TPM_RH } from '../../src/wire/tpm/constants.ts';
import { primaryQualifiedName, publicAreaName } from '../../src/wire/tpm/name.ts';
import { pcrDigest, type PcrSelection } from '../../src/wire/tpm/pcr-selection.ts';
import { parsePublicArea, serializePublicArea, type EccPublicArea } from '../../src/wire/tpm/public-area.ts';
import { keyMaterialOf } from '../../src/wire/tpm/public-key.ts';
import { serializeSignature } from '../../src/wire/tpm/signature.ts';
import { akTemplate, signingKeyTemplate } from '../../src/wire/tpm/templates.ts';
import { ecKeyPair } from './certificates.ts';

export interface PosingKey {
  /** TPMT_PUBLIC. */
  readonly publicArea: Uint8Array;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** A software key with the public area of an AK, or with whatever `change` makes of it. */
export function posingAk(change: Partial<EccPublicArea> = {}): PosingKey {
  return posing(akTemplate(new Uint8Array(32)), change);
}

/** A software key with the public area of an agent key. */
export function posingAgentKey(change: Partial<EccPublicArea> = {}): PosingKey {
  return posing(signingKeyTemplate('ES256'), change);
}

/** TPMT_SIGNATURE by a posing key over any octets. */
export function posingSignature(key: PosingKey, octets: Uint8Array): Uint8Array {
  const jose = sign('sha256', octets, { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return serializeSignature({
    scheme: 'ecdsa',
    hash: 'sha256',
    r: jose.subarray(0, 32),
    s: jose.subarray(32),
  });
}

/** The Qualified Name that an honest AK with this public area would have. */
export function qualifiedNameOf(ak: PosingKey): Uint8Array {
  return primaryQualifiedName(TPM_RH.ENDORSEMENT, publicAreaName(ak.publicArea));
}

export const POSED_CLOCK: ClockInfo = { clock: 100_000n, resetCount: 3, restartCount: 1, safe: true };
export const POSED_FIRMWARE = 0x0001_0002_0003_0004n;

/** TPMS_ATTEST of a Certify as the Verifier wants it, but for `change`. */
export function posedCertify(
  ak: PosingKey,
  key: Uint8Array,
  extraData: Uint8Array,
  change: Partial<CertifyAttest> = {},
): Uint8Array {
  return serializeAttest({
    type: 'certify',
    qualifiedSigner: qualifiedNameOf(ak),
    extraData,
    clockInfo: POSED_CLOCK,
    firmwareVersion: POSED_FIRMWARE,
    name: publicAreaName(key),
    qualifiedName: publicAreaName(key),
    ...change,
  });
}

/** TPMS_ATTEST of a quote as the Verifier wants it, but for `change`. */
export function posedQuote(
  ak: PosingKey,
  selection: PcrSelection,
  values: readonly Uint8Array[],
  extraData: Uint8Array,
  change: Partial<QuoteAttest> = {},
): Uint8Array {
  return serializeAttest({
    type: 'quote',
    qualifiedSigner: qualifiedNameOf(ak),
    extraData,
    clockInfo: POSED_CLOCK,
    firmwareVersion: POSED_FIRMWARE,
    pcrSelection: selection,
    pcrDigest: pcrDigest('sha256', selection, values),
    ...change,
  });
}

/** Random PCR values for a selection of SHA-256 PCRs. */
export function posedPcrs(selection: PcrSelection): readonly Uint8Array[] {
  return selection.flatMap(({ pcrs }) =>
    pcrs.map(() => createHash('sha256').update(randomBytes(8)).digest()),
  );
}

function posing(template: Uint8Array, change: Partial<EccPublicArea>): PosingKey {
  const { publicKey, privateKey } = ecKeyPair();
  const material = keyMaterialOf(publicKey);
  const area = parsePublicArea(template);
  if (area.type !== 'ecc' || material.type !== 'ecc')
    throw new TypeError('the template is not for an EC key');
  const publicArea = serializePublicArea({ ...area, x: material.x, y: material.y, ...change });
  return { publicArea, publicKey, privateKey };
}
