/**
 * TPMT_SIGNATURE (Part 2 §11.3.4), its JOSE form, and verification. Which algorithm verifies is said by
 * the key; a signature that names another one is refused (algorithm confusion).
 */
import { constants, verify } from 'node:crypto';
import { verifyEcdsa } from '../ecdsa-signature.ts';
import { KeydError } from '../problem.ts';
import { TpmReader, TpmWriter, hex } from './codec.ts';
import { CURVES, TPM_ALG, type HashName } from './constants.ts';
import { writeScheme, type PublicArea, type SigningScheme } from './public-area.ts';
import { leftPad, publicAreaToKeyObject } from './public-key.ts';

export type TpmSignature =
  | { readonly scheme: 'ecdsa'; readonly hash: HashName; readonly r: Uint8Array; readonly s: Uint8Array }
  | { readonly scheme: 'rsassa' | 'rsapss'; readonly hash: HashName; readonly signature: Uint8Array };

const MAX_ECC = 66;
const MAX_RSA = 512;

/** @throws KeydError `malformed_structure` */
export function parseSignature(octets: Uint8Array): TpmSignature {
  const reader = new TpmReader(octets, 'TPMT_SIGNATURE');
  const signature = readSignature(reader);
  reader.end();
  return signature;
}

export function serializeSignature(signature: TpmSignature): Uint8Array {
  const writer = new TpmWriter();
  writeScheme(writer, signature);
  if (signature.scheme === 'ecdsa') writer.tpm2b(signature.r).tpm2b(signature.s);
  else writer.tpm2b(signature.signature);
  return writer.toOctets();
}

/**
 * JOSE octets (RFC 7518 §3.4): r‖s, each left-padded to the curve's length; RSA as it is.
 * @throws KeydError `signature_invalid` if it was not made by this kind of key
 */
export function signatureToJose(signature: TpmSignature, area: PublicArea): Uint8Array {
  requireScheme(signature, area);
  if (signature.scheme !== 'ecdsa') return leftPad(signature.signature, rsaOctets(area));
  const octets = eccOctets(area);
  return new Uint8Array(Buffer.concat([leftPad(signature.r, octets), leftPad(signature.s, octets)]));
}

/**
 * The TPM form of JOSE octets by this key.
 * @throws KeydError `signature_invalid` if the length is not the key's
 */
export function joseToSignature(jose: Uint8Array, area: PublicArea): TpmSignature {
  const { scheme, hash } = signingScheme(area);
  const expected = scheme === 'ecdsa' ? 2 * eccOctets(area) : rsaOctets(area);
  if (jose.length !== expected) {
    throw new KeydError(
      'signature_invalid',
      `a signature of ${jose.length} octets is not by a key that makes ${expected}`,
    );
  }
  if (scheme !== 'ecdsa') return { scheme, hash, signature: new Uint8Array(jose) };
  return {
    scheme,
    hash,
    r: new Uint8Array(jose.subarray(0, expected / 2)),
    s: new Uint8Array(jose.subarray(expected / 2)),
  };
}

/**
 * Whether `signature` (marshalled TPMT_SIGNATURE) is the key's over `message`.
 * @throws KeydError `malformed_structure` for malformed octets, `signature_invalid` for another algorithm than the key's
 */
export function verifyTpmSignature(area: PublicArea, message: Uint8Array, signature: Uint8Array): boolean {
  const jose = signatureToJose(parseSignature(signature), area);
  const { scheme, hash } = signingScheme(area);
  const key = publicAreaToKeyObject(area);
  switch (scheme) {
    case 'ecdsa':
      return verifyEcdsa(hash, message, key, jose);
    case 'rsassa':
      return verify(hash, message, { key, padding: constants.RSA_PKCS1_PADDING }, jose);
    case 'rsapss':
      // Part 1 §B.7: a TPM takes the largest salt that fits, or the digest's length in FIPS mode.
      return verify(
        hash,
        message,
        { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO },
        jose,
      );
  }
}

/**
 * The scheme a key signs with: its own, or for an ECC key without one the hash that fits the curve.
 * @throws KeydError `unsupported_algorithm`
 */
export function signingScheme(area: PublicArea): SigningScheme {
  if (area.scheme !== undefined) return area.scheme;
  if (area.type === 'rsa') {
    throw new KeydError('unsupported_algorithm', 'an RSA key without a scheme does not say how it signs');
  }
  return {
    scheme: 'ecdsa',
    hash: ({ 'P-256': 'sha256', 'P-384': 'sha384', 'P-521': 'sha512' } as const)[area.curve],
  };
}

function readSignature(reader: TpmReader): TpmSignature {
  const id = reader.u16();
  switch (id) {
    case TPM_ALG.ECDSA: {
      const hash = reader.hash('hash');
      const r = reader.tpm2b(MAX_ECC, 'signatureR');
      return { scheme: 'ecdsa', hash, r, s: reader.tpm2b(MAX_ECC, 'signatureS') };
    }
    case TPM_ALG.RSASSA:
    case TPM_ALG.RSAPSS: {
      const hash = reader.hash('hash');
      return {
        scheme: id === TPM_ALG.RSASSA ? 'rsassa' : 'rsapss',
        hash,
        signature: reader.tpm2b(MAX_RSA, 'sig'),
      };
    }
    default:
      return reader.fail(`the scheme ${hex(id)} is none of ECDSA, RSASSA, RSAPSS`);
  }
}

function requireScheme(signature: TpmSignature, area: PublicArea): void {
  const { scheme, hash } = signingScheme(area);
  if (signature.scheme !== scheme || signature.hash !== hash) {
    throw new KeydError(
      'signature_invalid',
      `the signature says ${signature.scheme}-${signature.hash}, the key signs ${scheme}-${hash}`,
    );
  }
}

function eccOctets(area: PublicArea): number {
  if (area.type === 'ecc') return CURVES[area.curve].octets;
  throw new KeydError('signature_invalid', 'an RSA key makes no ECDSA signatures');
}

function rsaOctets(area: PublicArea): number {
  if (area.type === 'rsa') return area.keyBits / 8;
  throw new KeydError('signature_invalid', 'an ECC key makes no RSA signatures');
}
