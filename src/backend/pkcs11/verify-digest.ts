/**
 * Verifies signatures over a digest whose message is not known. node:crypto verifies messages only, so each
 * case is turned into one that it can do. Everything here is public: nothing needs constant time.
 */
import {
  constants,
  createECDH,
  createHash,
  createPublicKey,
  publicDecrypt,
  verify,
  type KeyObject,
} from 'node:crypto';
import { decodeBase64url, encodeBase64url } from '../../wire/base64url.ts';
import type { PublicJwk } from '../../wire/jwk.ts';

type EcJwk = Extract<PublicJwk, { kty: 'EC' }>;

interface Curve {
  /** OpenSSL's name. */
  readonly name: string;
  readonly hash: 'sha256' | 'sha384';
  /** Field prime and group order (NIST SP 800-186 §3.2.1). */
  readonly p: bigint;
  readonly n: bigint;
  readonly octets: number;
}

const CURVES: Readonly<Record<EcJwk['crv'], Curve>> = {
  'P-256': {
    name: 'prime256v1',
    hash: 'sha256',
    p: 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
    n: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
    octets: 32,
  },
  'P-384': {
    name: 'secp384r1',
    hash: 'sha384',
    p: 0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffffn,
    n: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
    octets: 48,
  },
};

const EMPTY = Buffer.alloc(0);

/**
 * ECDSA over a digest (FIPS 186-5 §6.4.2). (r, s) is good for digest e under Q if s⁻¹·(e·G + r·Q) has the
 * x-coordinate r. For the hash h of a known message it is good under Q′ = Q + ((e − h)/r)·G for the same
 * reason, as h·G + r·Q′ = e·G + r·Q. So Q′ is computed and OpenSSL verifies (r, s) over the empty message.
 */
export function verifyEcdsaDigest(jwk: EcJwk, digest: Uint8Array, signature: Uint8Array): boolean {
  const curve = CURVES[jwk.crv];
  const { n, p, octets } = curve;
  if (digest.length !== octets || signature.length !== 2 * octets) return false;
  const r = toInteger(signature.subarray(0, octets));
  if (r === 0n || r >= n) return false;
  const h = toInteger(createHash(curve.hash).digest());
  const t = modulo((toInteger(digest) - h) * inverse(r, n), n);
  const q = { x: toInteger(decodeBase64url(jwk.x)), y: toInteger(decodeBase64url(jwk.y)) };
  let moved = q;
  if (t !== 0n) {
    const tG = baseTimes(curve, t);
    // Equal x means Q = ±t·G: who chose r knew the private key, and no honest signature meets it.
    if (tG.x === q.x) return false;
    const slope = modulo((tG.y - q.y) * inverse(modulo(tG.x - q.x, p), p), p);
    const x = modulo(slope * slope - q.x - tG.x, p);
    moved = { x, y: modulo(slope * (q.x - x) - q.y, p) };
  }
  const key = createPublicKey({
    key: {
      kty: 'EC',
      crv: jwk.crv,
      x: encodeBase64url(toOctets(moved.x, octets)),
      y: encodeBase64url(toOctets(moved.y, octets)),
    },
    format: 'jwk',
  });
  return verify(curve.hash, EMPTY, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

function baseTimes(curve: Curve, scalar: bigint): { x: bigint; y: bigint } {
  const ecdh = createECDH(curve.name);
  ecdh.setPrivateKey(toOctets(scalar, curve.octets));
  const point = ecdh.getPublicKey();
  return {
    x: toInteger(point.subarray(1, 1 + curve.octets)),
    y: toInteger(point.subarray(1 + curve.octets)),
  };
}

/** RSA over a SHA-256 digest: PKCS#1 v1.5 or PSS with a salt of 32 octets (RFC 8017 §8.2.2, §8.1.2). */
export function verifyRsaDigest(
  key: KeyObject,
  algorithm: 'RS256' | 'PS256',
  digest: Uint8Array,
  signature: Uint8Array,
): boolean {
  let encoded: Buffer;
  try {
    encoded = publicDecrypt({ key, padding: constants.RSA_NO_PADDING }, signature);
  } catch {
    // The integer is not below the modulus: RFC 8017 calls that an invalid signature.
    return false;
  }
  return algorithm === 'RS256' ? isPkcs1(encoded, digest) : isPss(encoded, digest);
}

/** DER of DigestInfo for SHA-256 without the digest (RFC 8017 §9.2 note 1). */
export const SHA256_DIGEST_INFO_PREFIX = Buffer.from('3031300d060960864801650304020105000420', 'hex');

// EMSA-PKCS1-v1_5 has one spelling: encode and compare (RFC 8017 §8.2.2).
function isPkcs1(encoded: Buffer, digest: Uint8Array): boolean {
  const tail = Buffer.concat([Buffer.of(0), SHA256_DIGEST_INFO_PREFIX, digest]);
  const fill = Buffer.alloc(encoded.length - 2 - tail.length, 0xff);
  return encoded.equals(Buffer.concat([Buffer.of(0, 1), fill, tail]));
}

const SALT_OCTETS = 32;
const HASH_OCTETS = 32;

// EMSA-PSS-VERIFY (RFC 8017 §9.1.2) with emBits = 8·octets − 1, as every modulus here has its top bit set.
function isPss(encoded: Buffer, digest: Uint8Array): boolean {
  const dbOctets = encoded.length - HASH_OCTETS - 1;
  const [firstOctet] = encoded;
  if (firstOctet === undefined || (firstOctet & 0x80) !== 0 || encoded.at(-1) !== 0xbc) return false;
  const hash = encoded.subarray(dbOctets, dbOctets + HASH_OCTETS);
  const mask = mgf1(hash, dbOctets);
  const db = Buffer.alloc(dbOctets);
  for (let index = 0; index < dbOctets; index++) db[index] = (encoded[index] ?? 0) ^ (mask[index] ?? 0);
  db.writeUInt8(db.readUInt8(0) & 0x7f, 0);
  const padding = db.subarray(0, dbOctets - SALT_OCTETS);
  const salt = db.subarray(dbOctets - SALT_OCTETS);
  if (padding.at(-1) !== 1 || padding.subarray(0, -1).some((octet) => octet !== 0)) return false;
  return createHash('sha256').update(Buffer.alloc(8)).update(digest).update(salt).digest().equals(hash);
}

// MGF1 with SHA-256 (RFC 8017 §B.2.1).
function mgf1(seed: Uint8Array, octets: number): Buffer {
  const blocks: Buffer[] = [];
  for (let counter = 0; counter * HASH_OCTETS < octets; counter++) {
    const counterOctets = Buffer.alloc(4);
    counterOctets.writeUInt32BE(counter);
    blocks.push(createHash('sha256').update(seed).update(counterOctets).digest());
  }
  return Buffer.concat(blocks).subarray(0, octets);
}

function toInteger(octets: Uint8Array): bigint {
  return octets.length === 0 ? 0n : BigInt(`0x${Buffer.from(octets).toString('hex')}`);
}

function toOctets(value: bigint, length: number): Buffer {
  return Buffer.from(value.toString(16).padStart(2 * length, '0'), 'hex');
}

function modulo(value: bigint, modulus: bigint): bigint {
  const rest = value % modulus;
  return rest < 0n ? rest + modulus : rest;
}

/** Extended Euclid; `value` is not 0 and `modulus` is prime. */
function inverse(value: bigint, modulus: bigint): bigint {
  let [a, b, x, y] = [value, modulus, 1n, 0n];
  while (b !== 0n) {
    const quotient = a / b;
    [a, b, x, y] = [b, a - quotient * b, y, x - quotient * y];
  }
  return modulo(x, modulus);
}
