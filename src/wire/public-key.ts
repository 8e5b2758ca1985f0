/** Public keys as node:crypto uses them, and verification by the key's own algorithm. */
import { constants, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { algorithmEntry } from './algorithms.ts';
import { verifyEcdsa } from './ecdsa-signature.ts';
import type { PublicJwk } from './jwk.ts';
import { KeydError } from './problem.ts';

/** RFC 7518 §3.5: the salt is as long as the hash. */
const PSS_SALT_OCTETS = 32;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;

/** Pinned keys verify again and again; importing one costs as much as a verification. */
const imported = new WeakMap<PublicJwk, KeyObject>();

/**
 * A node:crypto key from a checked JWK.
 * @throws KeydError `malformed_request` where the point is not on the curve or an RSA modulus is not of 2048 to 4096 bits
 */
export function publicKeyObject(jwk: PublicJwk): KeyObject {
  const known = imported.get(jwk);
  if (known !== undefined) return known;
  let key: KeyObject;
  try {
    // Only what the key type needs: `alg` and the like are no business of the import.
    const material =
      jwk.kty === 'RSA'
        ? { kty: jwk.kty, n: jwk.n, e: jwk.e }
        : jwk.kty === 'EC'
          ? { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y }
          : { kty: jwk.kty, crv: jwk.crv, x: jwk.x };
    key = createPublicKey({ key: material, format: 'jwk' });
  } catch (cause) {
    throw new KeydError('malformed_request', 'the JWK is no valid public key', { cause });
  }
  // Only RSA is asked: the details of a key cost a third of its import.
  if (jwk.kty === 'RSA') {
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) {
      throw new KeydError('malformed_request', `an RSA key of ${bits} bits is not accepted`);
    }
  }
  imported.set(jwk, key);
  return key;
}

/**
 * Whether `signature` (JOSE form: r||s, RSA as a modulus-long octet string) over `message` is by this key,
 * under the algorithm of the key. A signature of another length, DER among them, is false.
 * @throws KeydError `malformed_request` for an unusable key
 */
export function verifySignature(jwk: PublicJwk, message: Uint8Array, signature: Uint8Array): boolean {
  const entry = algorithmEntry(jwk.alg);
  if (entry.signatureOctets !== undefined && signature.length !== entry.signatureOctets) return false;
  const key = publicKeyObject(jwk);
  if (entry.kty === 'EC') return verifyEcdsa(entry.hash, message, key, signature);
  if (entry.rsaPadding === 'pss') {
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    return verify(entry.hash, message, { key, padding, saltLength: PSS_SALT_OCTETS }, signature);
  }
  return verify(entry.hash, message, key, signature);
}
