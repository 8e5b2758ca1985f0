import { hash } from 'node:crypto';
import { algorithmEntry, type Algorithm } from './algorithms.ts';
import { decodeBase64url } from './base64url.ts';
import { KeydError } from './problem.ts';

/** A public JWK (RFC 7517) with only what the key type needs, and always with `alg`. */
export type PublicJwk =
  | {
      readonly kty: 'EC';
      readonly crv: 'P-256' | 'P-384';
      readonly x: string;
      readonly y: string;
      readonly alg: 'ES256' | 'ES384';
    }
  | { readonly kty: 'OKP'; readonly crv: 'Ed25519'; readonly x: string; readonly alg: 'Ed25519' }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string; readonly alg: 'RS256' | 'PS256' };

const thumbprints = new WeakMap<PublicJwk, string>();

/** RFC 7638 thumbprint with SHA-256, base64url: the `kid` and `jkt` of a key. */
export function jwkThumbprint(jwk: PublicJwk): string {
  let thumbprint = thumbprints.get(jwk);
  if (thumbprint === undefined) thumbprints.set(jwk, (thumbprint = computeThumbprint(jwk)));
  return thumbprint;
}

function computeThumbprint(jwk: PublicJwk): string {
  // RFC 7638 §3.2: required members only, in lexicographic order, no white space.
  const required =
    jwk.kty === 'EC'
      ? { crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y }
      : jwk.kty === 'OKP'
        ? { crv: jwk.crv, kty: jwk.kty, x: jwk.x }
        : { e: jwk.e, kty: jwk.kty, n: jwk.n };
  return hash('sha256', JSON.stringify(required), 'base64url');
}

/**
 * A public JWK from untrusted parsed JSON. `alg` must be present and fit the key; private members,
 * coordinates of the wrong length and anything unknown are errors.
 * @throws KeydError `malformed_request`
 */
export function parsePublicJwk(value: unknown, what = 'jwk'): PublicJwk {
  const fail = (reason: string): never => {
    throw new KeydError('malformed_request', `${what} ${reason}`);
  };
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return fail('must be an object');
  const given = value as Readonly<Record<string, unknown>>;
  const allowed = new Set(['kty', 'crv', 'x', 'y', 'n', 'e', 'alg', 'kid', 'use']);
  for (const member of Object.keys(given)) {
    if (!allowed.has(member)) fail(`has the member ${JSON.stringify(member)}, which a public key has not`);
  }
  const field = (name: string, octets: number | undefined): string => {
    const raw = given[name];
    if (typeof raw !== 'string' || raw.length > 1400) return fail(`needs ${name} as base64url`);
    const decoded = decodeBase64url(raw, `${what}.${name}`);
    if (octets !== undefined && decoded.length !== octets)
      fail(`has ${name} of ${decoded.length} octets, not ${octets}`);
    return raw;
  };
  const { kty, crv, alg } = given;
  if (kty === 'EC' && crv === 'P-256' && alg === 'ES256') {
    return { kty, crv, x: field('x', 32), y: field('y', 32), alg };
  }
  if (kty === 'EC' && crv === 'P-384' && alg === 'ES384') {
    return { kty, crv, x: field('x', 48), y: field('y', 48), alg };
  }
  if (kty === 'OKP' && crv === 'Ed25519' && alg === 'Ed25519') return { kty, crv, x: field('x', 32), alg };
  if (kty === 'RSA' && (alg === 'RS256' || alg === 'PS256')) {
    return { kty, n: field('n', undefined), e: field('e', undefined), alg };
  }
  return fail('has no supported combination of kty, crv and alg');
}

/** The algorithm a key signs with: taken from the key, never from a message. */
export function jwkAlgorithm(jwk: PublicJwk): Algorithm {
  return jwk.alg;
}

/** RFC 9421 §3.3 name of the key's algorithm, where it has one. */
export function jwkHttpSignatureName(jwk: PublicJwk): string | undefined {
  return algorithmEntry(jwk.alg).httpSignatureName;
}

/** RFC 9278 §3: an identifier that is true of the key itself, wherever it is. */
export function thumbprintUri(kid: string): string {
  return `urn:ietf:params:oauth:jwk-thumbprint:sha-256:${kid}`;
}
