/** Keys and signatures of certificates, CSRs and revocation lists: which are accepted, and how they verify. */
import { constants, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { contextTag, der, derInteger, derNull, derOid, derSequence } from './der.ts';
import { KeydError } from './problem.ts';

/** What was signed, by which algorithm, and the signature. */
export interface SignedOctets {
  readonly tbs: Uint8Array;
  /** AlgorithmIdentifier as encoded: with its parameters, because they decide what is verified. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
}

interface SignatureRule {
  readonly keyType: 'rsa' | 'ec' | 'ed25519';
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null;
  readonly pss?: true;
}

const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const RSAES_OAEP = '1.2.840.113549.1.1.7';
const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const ED25519 = '1.3.101.112';
const MGF1 = '1.2.840.113549.1.1.8';
const RSASSA_PSS = '1.2.840.113549.1.1.10';
const SHA256 = '2.16.840.1.101.3.4.2.1';
const PSS_SALT_OCTETS = 32;

/** RFC 4055 §2.1: hash identifiers come with NULL parameters or with none; both mean the same. */
const SHA256_IDENTIFIERS = [derSequence(derOid(SHA256), derNull()), derSequence(derOid(SHA256))];

/**
 * Accepted AlgorithmIdentifiers, hex of their encoding (RFC 4055 §5, RFC 5758 §3, RFC 8410 §3). No SHA-1, no MD5;
 * PSS with SHA-256 throughout and a salt of 32 octets, as PS256 has it.
 */
const RULES: ReadonlyMap<string, SignatureRule> = new Map([
  ...rsaPkcs1('1.2.840.113549.1.1.11', 'sha256'),
  ...rsaPkcs1('1.2.840.113549.1.1.12', 'sha384'),
  ...rsaPkcs1('1.2.840.113549.1.1.13', 'sha512'),
  ...SHA256_IDENTIFIERS.map((hash) =>
    entry(pssIdentifier(hash), { keyType: 'rsa', hash: 'sha256', pss: true }),
  ),
  entry(derSequence(derOid('1.2.840.10045.4.3.2')), { keyType: 'ec', hash: 'sha256' }),
  entry(derSequence(derOid('1.2.840.10045.4.3.3')), { keyType: 'ec', hash: 'sha384' }),
  entry(derSequence(derOid('1.2.840.10045.4.3.4')), { keyType: 'ec', hash: 'sha512' }),
  entry(derSequence(derOid(ED25519)), { keyType: 'ed25519', hash: null }),
]);

/**
 * A SubjectPublicKeyInfo as a key: RSA, EC or Ed25519. RSAES-OAEP keys, which certificates of TPM 1.2 carry, are
 * refused by name.
 * @param algorithm object identifier of the key type in `spki`
 * @throws KeydError `malformed_structure`
 */
export function importPublicKey(spki: Uint8Array, algorithm: string, what: string): KeyObject {
  if (algorithm === RSAES_OAEP) {
    throw new KeydError('malformed_structure', `${what} has an RSAES-OAEP key, as TPM 1.2 certificates have`);
  }
  if (algorithm !== RSA_ENCRYPTION && algorithm !== EC_PUBLIC_KEY && algorithm !== ED25519) {
    throw new KeydError(
      'malformed_structure',
      `${what} has a key of the type ${algorithm}, which is not supported`,
    );
  }
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new KeydError('malformed_structure', `${what} has a public key that can not be read`, { cause });
  }
}

/** Whether `key` made the signature; false for an algorithm that is not accepted or does not fit the key. */
export function verifySigned(signed: SignedOctets, key: KeyObject): boolean {
  const rule = RULES.get(Buffer.from(signed.signatureAlgorithm).toString('hex'));
  if (rule === undefined || key.asymmetricKeyType !== rule.keyType) return false;
  if (rule.pss !== true) return verify(rule.hash, signed.tbs, key, signed.signature);
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return verify(rule.hash, signed.tbs, { key, padding, saltLength: PSS_SALT_OCTETS }, signed.signature);
}

function rsaPkcs1(
  oid: string,
  hash: 'sha256' | 'sha384' | 'sha512',
): readonly (readonly [string, SignatureRule])[] {
  const rule = { keyType: 'rsa', hash } as const;
  return [entry(derSequence(derOid(oid), derNull()), rule), entry(derSequence(derOid(oid)), rule)];
}

function pssIdentifier(hash: Uint8Array): Uint8Array {
  const parameters = derSequence(
    der(contextTag(0), hash),
    der(contextTag(1), derSequence(derOid(MGF1), hash)),
    der(contextTag(2), derInteger(PSS_SALT_OCTETS)),
  );
  return derSequence(derOid(RSASSA_PSS), parameters);
}

function entry(identifier: Uint8Array, rule: SignatureRule): readonly [string, SignatureRule] {
  return [Buffer.from(identifier).toString('hex'), rule];
}
