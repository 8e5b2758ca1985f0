/** What PKCS#11 needs for each JOSE algorithm: how to generate, how to sign, how to read the public key. */
import type { KeyProtection } from '../backend.ts';
import type { Algorithm } from '../../wire/algorithms.ts';
import { encodeBase64url } from '../../wire/base64url.ts';
import { readWhole } from '../../wire/der.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import { KeydError } from '../../wire/problem.ts';
import { CKA, CKG, CKM, CKO } from './constants.ts';
import type { Mechanism, Template } from './cryptoki.ts';
import { formatKeyLabel, keyIdToOctets, type KeyLabel } from './key-label.ts';

/** Both are allowed by NIST SP 800-131A and BSI TR-02102 beyond 2030 only from 3072 on. */
export type RsaModulusBits = 2048 | 3072;

interface MechanismEntry {
  readonly generate: number;
  readonly sign: Mechanism;
  /** DER of CKA_EC_PARAMS, in the spellings that modules want: OID first, then curveName. */
  readonly ecParams: readonly Buffer[];
  /** Attributes of the public key object from which the JWK is made. */
  readonly publicAttributes: readonly number[];
}

const EC = { generate: CKM.ecKeyPairGen, sign: { mechanism: CKM.ecdsa }, publicAttributes: [CKA.ecPoint] };
const RSA = {
  generate: CKM.rsaPkcsKeyPairGen,
  ecParams: [],
  publicAttributes: [CKA.modulus, CKA.publicExponent],
};

const TABLE: Readonly<Record<Algorithm, MechanismEntry>> = {
  // 1.2.840.10045.3.1.7
  ES256: { ...EC, ecParams: [Buffer.from('06082a8648ce3d030107', 'hex')] },
  // 1.3.132.0.34
  ES384: { ...EC, ecParams: [Buffer.from('06052b81040022', 'hex')] },
  Ed25519: {
    generate: CKM.ecEdwardsKeyPairGen,
    sign: { mechanism: CKM.eddsa },
    // 1.3.101.112 (RFC 8410 §3) and PrintableString "edwards25519" (PKCS#11 v3.0 §2.3.5)
    ecParams: [Buffer.from('06032b6570', 'hex'), Buffer.from('130c656477617264733235353139', 'hex')],
    publicAttributes: [CKA.ecPoint],
  },
  // The DigestInfo is made by the parent (RFC 8017 §9.2).
  RS256: { ...RSA, sign: { mechanism: CKM.rsaPkcs } },
  // RFC 7518 §3.5: MGF1 with the same hash, salt as long as the hash.
  PS256: {
    ...RSA,
    sign: { mechanism: CKM.rsaPkcsPss, pss: { hashAlg: CKM.sha256, mgf: CKG.mgf1Sha256, saltLen: 32 } },
  },
};

export function mechanismEntry(algorithm: Algorithm): MechanismEntry {
  return TABLE[algorithm];
}

/** Whether a token with these mechanisms can generate and sign with the algorithm. */
export function isOffered(algorithm: Algorithm, mechanisms: ReadonlySet<number>): boolean {
  const { generate, sign } = TABLE[algorithm];
  return mechanisms.has(generate) && mechanisms.has(sign.mechanism);
}

/** The public key object: not private, so that enumeration works before login too. */
export function publicKeyTemplate(
  label: KeyLabel,
  ecParams: Buffer | undefined,
  rsaModulusBits: RsaModulusBits,
): Template {
  return [
    ...ourObject(label),
    { type: CKA.private, value: false },
    { type: CKA.verify, value: true },
    ...(ecParams === undefined
      ? [
          { type: CKA.modulusBits, value: rsaModulusBits },
          { type: CKA.publicExponent, value: Buffer.of(1, 0, 1) },
        ]
      : [{ type: CKA.ecParams, value: ecParams }]),
  ];
}

/** The private key object: it signs and can do nothing else. `hardened` adds what not every module knows. */
export function privateKeyTemplate(label: KeyLabel, hardened: boolean): Template {
  const required: Template = [
    ...ourObject(label),
    { type: CKA.private, value: true },
    { type: CKA.sensitive, value: true },
    { type: CKA.extractable, value: false },
    { type: CKA.sign, value: true },
  ];
  if (!hardened) return required;
  return [
    ...required,
    { type: CKA.decrypt, value: false },
    { type: CKA.unwrap, value: false },
    { type: CKA.derive, value: false },
    { type: CKA.signRecover, value: false },
    { type: CKA.copyable, value: false },
    { type: CKA.modifiable, value: false },
    { type: CKA.allowedMechanisms, value: ulong(TABLE[label.algorithm].sign.mechanism) },
  ];
}

/** Finds the objects of a key, of every class. */
export function idTemplate(keyId: Buffer): Template {
  return [
    { type: CKA.token, value: true },
    { type: CKA.id, value: keyId },
  ];
}

/** Finds all objects of a class. */
export function classTemplate(objectClass: (typeof CKO)[keyof typeof CKO]): Template {
  return [
    { type: CKA.class, value: objectClass },
    { type: CKA.token, value: true },
  ];
}

function ourObject(label: KeyLabel): Template {
  return [
    { type: CKA.token, value: true },
    { type: CKA.id, value: keyIdToOctets(label.keyId) },
    { type: CKA.label, value: formatKeyLabel(label) },
  ];
}

/** CK_ULONG as the machine has it. */
function ulong(value: number): Buffer {
  return Buffer.from(new BigUint64Array([BigInt(value)]).buffer);
}

/** A CK_ULONG attribute; undefined if it has another length. The numbers in use here fit. */
export function readUlong(value: Buffer): number | undefined {
  if (value.length !== BigUint64Array.BYTES_PER_ELEMENT) return undefined;
  // A copy, as the view must be aligned.
  return Number(new BigUint64Array(Uint8Array.from(value).buffer)[0]);
}

/**
 * The public JWK of a key object; `values` are its `publicAttributes`. Whether the point lies on the curve is
 * for node:crypto to say. @throws KeydError `malformed_structure`
 */
export function decodePublicKey(algorithm: Algorithm, values: readonly Uint8Array[]): PublicJwk {
  const [first, second] = values;
  if (first === undefined) throw malformed(algorithm, 'has no public value');
  switch (algorithm) {
    case 'ES256': {
      const { x, y } = uncompressedPoint(algorithm, first, 32);
      return { kty: 'EC', crv: 'P-256', x, y, alg: algorithm };
    }
    case 'ES384': {
      const { x, y } = uncompressedPoint(algorithm, first, 48);
      return { kty: 'EC', crv: 'P-384', x, y, alg: algorithm };
    }
    case 'Ed25519':
      return {
        kty: 'OKP',
        crv: 'Ed25519',
        x: encodeBase64url(ecPoint(algorithm, first, 32)),
        alg: algorithm,
      };
    case 'RS256':
    case 'PS256': {
      if (second === undefined) throw malformed(algorithm, 'has no public exponent');
      const n = withoutLeadingZeros(first);
      if (n.length < 256 || n.length > 512) throw malformed(algorithm, `has a modulus of ${n.length} octets`);
      return {
        kty: 'RSA',
        n: encodeBase64url(n),
        e: encodeBase64url(withoutLeadingZeros(second)),
        alg: algorithm,
      };
    }
  }
}

function uncompressedPoint(
  algorithm: Algorithm,
  value: Uint8Array,
  fieldOctets: number,
): { x: string; y: string } {
  const point = ecPoint(algorithm, value, 1 + 2 * fieldOctets);
  if (point[0] !== 0x04) throw malformed(algorithm, 'has a point that is not uncompressed');
  return {
    x: encodeBase64url(point.subarray(1, 1 + fieldOctets)),
    y: encodeBase64url(point.subarray(1 + fieldOctets)),
  };
}

/** CKA_EC_POINT: a DER OCTET STRING by the standard, the bare point in some modules; the length tells them apart. */
function ecPoint(algorithm: Algorithm, value: Uint8Array, pointOctets: number): Uint8Array {
  if (value.length === pointOctets) return value;
  const point = readWhole(value, 'CKA_EC_POINT', (reader) => reader.octetString());
  if (point.length !== pointOctets) throw malformed(algorithm, `has a point of ${point.length} octets`);
  return point;
}

function withoutLeadingZeros(value: Uint8Array): Uint8Array {
  const first = value.findIndex((octet) => octet !== 0);
  return first < 0 ? value.subarray(value.length) : value.subarray(first);
}

function malformed(algorithm: Algorithm, reason: string): KeydError {
  return new KeydError('malformed_structure', `A ${algorithm} key object on the token ${reason}`);
}

/** Attributes that are read back after creation, by the names people know them by. */
export const PROTECTION_ATTRIBUTES = {
  CKA_SENSITIVE: CKA.sensitive,
  CKA_EXTRACTABLE: CKA.extractable,
  CKA_ALWAYS_SENSITIVE: CKA.alwaysSensitive,
  CKA_NEVER_EXTRACTABLE: CKA.neverExtractable,
  CKA_LOCAL: CKA.local,
  CKA_TOKEN: CKA.token,
  CKA_PRIVATE: CKA.private,
  CKA_SIGN: CKA.sign,
  CKA_COPYABLE: CKA.copyable,
  CKA_MODIFIABLE: CKA.modifiable,
} as const;

/**
 * Judges attributes that were read back. What is missing counts against the key where every module must know
 * it (sensitive, extractable), and not where modules may leave it out.
 */
export function judgeProtection(attributes: Readonly<Record<string, boolean>>): KeyProtection {
  const protectedNow = attributes['CKA_SENSITIVE'] === true && attributes['CKA_EXTRACTABLE'] === false;
  const alwaysWas =
    attributes['CKA_ALWAYS_SENSITIVE'] !== false &&
    attributes['CKA_NEVER_EXTRACTABLE'] !== false &&
    attributes['CKA_LOCAL'] !== false;
  return { exportable: !(protectedNow && alwaysWas), attributes };
}
