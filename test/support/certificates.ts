/** Certificates, revocation lists and CSRs made octet by octet, the wrong ones among them. */
import { createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import {
  contextTag,
  der,
  DER_TAG,
  derBitString,
  derBoolean,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  derSetOf,
  derUtf8String,
} from '../../src/wire/der.ts';
import { ecdsaConcatToDer } from '../../src/wire/ecdsa-signature.ts';
import { parsePublicArea } from '../../src/wire/tpm/public-area.ts';
import { publicAreaToKeyObject } from '../../src/wire/tpm/public-key.ts';
import { parseSignature, signatureToJose } from '../../src/wire/tpm/signature.ts';

const ECDSA_SHA256 = derSequence(derOid('1.2.840.10045.4.3.2'));
const EMPTY_NAME = derSequence();

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export function ecKeyPair(namedCurve = 'P-256'): KeyPair {
  return generateKeyPairSync('ec', { namedCurve });
}

export function spkiOf(key: KeyObject): Uint8Array {
  return key.export({ type: 'spki', format: 'der' });
}

/** A Name of one common name. */
export function commonName(text: string): Uint8Array {
  return derSequence(derSetOf(derSequence(derOid('2.5.4.3'), derUtf8String(text))));
}

export function extension(oid: string, value: Uint8Array, critical = false): Uint8Array {
  return derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value));
}

export function basicConstraintsOf(ca: boolean, pathLength?: number): Uint8Array {
  const fields = [
    ...(ca ? [derBoolean(true)] : []),
    ...(pathLength === undefined ? [] : [derInteger(pathLength)]),
  ];
  return extension('2.5.29.19', derSequence(...fields), true);
}

/** @param bits numbers of KeyUsage bits, 0 to 7 */
export function keyUsageOf(...bits: readonly number[]): Uint8Array {
  const octet = bits.reduce((all, bit) => all | (0x80 >> bit), 0);
  let unused = 0;
  while (unused < 7 && ((octet >> unused) & 1) === 0) unused += 1;
  return extension('2.5.29.15', derBitString(Uint8Array.of(octet), unused), true);
}

export function extendedKeyUsageOf(...purposes: readonly string[]): Uint8Array {
  return extension('2.5.29.37', derSequence(...purposes.map(derOid)));
}

/** subjectAltName with one directoryName of these attributes. */
export function directoryNameOf(attributes: Readonly<Record<string, string>>): Uint8Array {
  const rdns = Object.entries(attributes).map(([oid, value]) =>
    derSetOf(derSequence(derOid(oid), derUtf8String(value))),
  );
  return extension('2.5.29.17', derSequence(der(contextTag(4), derSequence(...rdns))), true);
}

/** subjectDirectoryAttributes with a TPM specification. */
export function tpmSpecificationOf(family: string, level: number, revision: number): Uint8Array {
  const value = derSequence(derUtf8String(family), derInteger(level), derInteger(revision));
  return extension('2.5.29.9', derSequence(derSequence(derOid('2.23.133.2.16'), derSetOf(value))));
}

export interface CertificateTemplate {
  readonly subject?: Uint8Array;
  readonly issuer: Uint8Array;
  readonly serial?: number;
  readonly spki: Uint8Array;
  readonly extensions: readonly Uint8Array[];
  readonly signer: KeyObject;
  readonly notBeforeSeconds?: number;
  readonly notAfterSeconds?: number;
}

const DEFAULT_NOT_BEFORE = Date.UTC(2020, 0, 1) / 1000;
const DEFAULT_NOT_AFTER = Date.UTC(2049, 0, 1) / 1000;

export function mintCertificate(template: CertificateTemplate): Uint8Array {
  const tbs = derSequence(
    der(contextTag(0), derInteger(2)),
    derInteger(template.serial ?? 1),
    ECDSA_SHA256,
    template.issuer,
    derSequence(
      utcTime(template.notBeforeSeconds ?? DEFAULT_NOT_BEFORE),
      utcTime(template.notAfterSeconds ?? DEFAULT_NOT_AFTER),
    ),
    template.subject ?? EMPTY_NAME,
    template.spki,
    der(contextTag(3), derSequence(...template.extensions)),
  );
  return signed(tbs, template.signer);
}

export interface RevocationListTemplate {
  readonly issuer: Uint8Array;
  readonly serials: readonly number[];
  readonly signer: KeyObject;
  readonly thisUpdateSeconds: number;
  readonly nextUpdateSeconds?: number;
  readonly extensions?: readonly Uint8Array[];
}

export function mintRevocationList(template: RevocationListTemplate): Uint8Array {
  const date = utcTime(template.thisUpdateSeconds);
  const entries = template.serials.map((serial) => derSequence(derInteger(serial), date));
  const tbs = derSequence(
    derInteger(1),
    ECDSA_SHA256,
    template.issuer,
    date,
    ...(template.nextUpdateSeconds === undefined ? [] : [utcTime(template.nextUpdateSeconds)]),
    ...(entries.length === 0 ? [] : [derSequence(...entries)]),
    ...(template.extensions === undefined ? [] : [der(contextTag(0), derSequence(...template.extensions))]),
  );
  return signed(tbs, template.signer);
}

/** CertificationRequestInfo of a key: no subject, no attributes. */
export function csrInfo(spki: Uint8Array): Uint8Array {
  return derSequence(derInteger(0), EMPTY_NAME, spki, der(contextTag(0)));
}

export function csrOf(info: Uint8Array, algorithm: Uint8Array, signature: Uint8Array): Uint8Array {
  return derSequence(info, algorithm, derBitString(signature));
}

/** A CSR by a P-256 TPM key; `signTbs` gives a TPMT_SIGNATURE. */
export async function makeCsr(
  publicArea: Uint8Array,
  signTbs: (tbs: Uint8Array) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const area = parsePublicArea(publicArea);
  const info = csrInfo(spkiOf(publicAreaToKeyObject(area)));
  const jose = signatureToJose(parseSignature(await signTbs(info)), area);
  return csrOf(info, ECDSA_SHA256, ecdsaConcatToDer(jose, 32));
}

/** A CSR by a software P-256 key. */
export function makeSoftwareCsr(keys: KeyPair): Uint8Array {
  const info = csrInfo(spkiOf(createPublicKey(keys.privateKey)));
  return csrOf(info, ECDSA_SHA256, sign('sha256', info, keys.privateKey));
}

function signed(tbs: Uint8Array, key: KeyObject): Uint8Array {
  return derSequence(tbs, ECDSA_SHA256, derBitString(sign('sha256', tbs, key)));
}

/** Years 1950 to 2049. */
function utcTime(seconds: number): Uint8Array {
  const text = new Date(seconds * 1000).toISOString().replace(/^..|[-:T]|\.\d+/g, '');
  return der(DER_TAG.utcTime, Buffer.from(text));
}
