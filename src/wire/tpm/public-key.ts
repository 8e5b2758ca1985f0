/** TPMT_PUBLIC to the key it describes: public JWK and node:crypto KeyObject, and back from a KeyObject. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { decodeBase64url, encodeBase64url } from '../base64url.ts';
import type { PublicJwk } from '../jwk.ts';
import { KeydError } from '../problem.ts';
import { CURVES, type CurveName } from './constants.ts';
import type { PublicArea } from './public-area.ts';

/** The key material of a public key: what differs between two keys of one template. */
export type KeyMaterial =
  | { readonly type: 'ecc'; readonly curve: CurveName; readonly x: Uint8Array; readonly y: Uint8Array }
  | { readonly type: 'rsa'; readonly keyBits: number; readonly modulus: Uint8Array };

/** An AK verifies again and again; importing a key costs half as much as a verification. */
const imported = new WeakMap<PublicArea, KeyObject>();
/** A JWK that is made once is imported, and its thumbprint taken, once. */
const jwks = new WeakMap<PublicArea, PublicJwk>();

/**
 * The public JWK with the algorithm the key signs with: from its curve, or from its RSA scheme.
 * @throws KeydError `unsupported_algorithm` for keys that sign nothing this project issues for, `malformed_structure`
 */
export function publicAreaToJwk(area: PublicArea): PublicJwk {
  let jwk = jwks.get(area);
  if (jwk === undefined) jwks.set(area, (jwk = makeJwk(area)));
  return jwk;
}

function makeJwk(area: PublicArea): PublicJwk {
  if (area.type === 'ecc') {
    if (area.curve === 'P-521')
      throw new KeydError('unsupported_algorithm', 'P-521 keys are not supported for signing');
    const { x, y } = coordinates(area);
    return area.curve === 'P-256'
      ? { kty: 'EC', crv: 'P-256', x, y, alg: 'ES256' }
      : { kty: 'EC', crv: 'P-384', x, y, alg: 'ES384' };
  }
  if (area.scheme?.hash !== 'sha256') {
    throw new KeydError('unsupported_algorithm', 'an RSA key needs the scheme RSASSA or RSAPSS with SHA-256');
  }
  return {
    kty: 'RSA',
    n: modulus(area),
    e: 'AQAB',
    alg: area.scheme.scheme === 'rsapss' ? 'PS256' : 'RS256',
  };
}

/**
 * The key for node:crypto; a point that is not on its curve is refused there.
 * @throws KeydError `malformed_structure`
 */
export function publicAreaToKeyObject(area: PublicArea): KeyObject {
  const known = imported.get(area);
  if (known !== undefined) return known;
  const key =
    area.type === 'ecc'
      ? { kty: 'EC', crv: area.curve, ...coordinates(area) }
      : { kty: 'RSA', n: modulus(area), e: 'AQAB' };
  try {
    const object = createPublicKey({ format: 'jwk', key });
    imported.set(area, object);
    return object;
  } catch (error) {
    throw new KeydError('malformed_structure', 'TPMT_PUBLIC: unique is no public key', { cause: error });
  }
}

/**
 * The key material of a public KeyObject, with coordinates at the curve's full length.
 * @throws KeydError `unsupported_algorithm`
 */
export function keyMaterialOf(key: KeyObject): KeyMaterial {
  const refuse = (): never => {
    throw new KeydError(
      'unsupported_algorithm',
      `a ${String(key.asymmetricKeyType)} key of this size is not supported`,
    );
  };
  if (key.asymmetricKeyType === 'ec') {
    const { crv, x, y } = key.export({ format: 'jwk' });
    if (crv === undefined || x === undefined || y === undefined || !isCurve(crv)) return refuse();
    return { type: 'ecc', curve: crv, x: decodeBase64url(x), y: decodeBase64url(y) };
  }
  if (key.asymmetricKeyType === 'rsa') {
    const { n, e } = key.export({ format: 'jwk' });
    if (n === undefined || e !== 'AQAB') return refuse();
    const modulus = decodeBase64url(n);
    return { type: 'rsa', keyBits: modulus.length * 8, modulus };
  }
  return refuse();
}

/** `octets` left-padded with zeros to `length`. @throws KeydError `malformed_structure` if longer */
export function leftPad(octets: Uint8Array, length: number): Uint8Array {
  if (octets.length > length) {
    throw new KeydError(
      'malformed_structure',
      `an integer of ${octets.length} octets does not fit in ${length}`,
    );
  }
  const padded = new Uint8Array(length);
  padded.set(octets, length - octets.length);
  return padded;
}

function coordinates(area: PublicArea & { readonly type: 'ecc' }): {
  readonly x: string;
  readonly y: string;
} {
  const { octets } = CURVES[area.curve];
  return { x: encodeBase64url(leftPad(area.x, octets)), y: encodeBase64url(leftPad(area.y, octets)) };
}

/** @throws KeydError `malformed_structure` where it is not as long as the area says */
function modulus(area: PublicArea & { readonly type: 'rsa' }): string {
  if (area.modulus.length !== area.keyBits / 8) {
    throw new KeydError(
      'malformed_structure',
      `TPMT_PUBLIC: the modulus has ${area.modulus.length * 8} bits, not ${area.keyBits}`,
    );
  }
  return encodeBase64url(withoutLeadingZeros(area.modulus));
}

function withoutLeadingZeros(octets: Uint8Array): Uint8Array {
  const first = octets.findIndex((octet) => octet !== 0);
  return first < 0 ? new Uint8Array() : octets.subarray(first);
}

function isCurve(name: string): name is CurveName {
  return Object.hasOwn(CURVES, name);
}
