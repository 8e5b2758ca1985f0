/** Tokens that an issuer signed and that confirm a key (RFC 7800 `cnf.jwk`): what WIT and agent token share. */
import type { AssuranceLevel } from '../wire/assurance.ts';
import { parse } from '../wire/check.ts';
import { ATTESTATION_CLAIM, attestationClaim } from '../wire/credential-claims.ts';
import { jwkThumbprint, parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { decodeJwt, type DecodedJwt } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { verifySignature } from '../wire/public-key.ts';
import { normaliseTyp } from '../wire/typ.ts';
import type { TrustedKey } from './trusted-keys.ts';

export interface TokenRules {
  /** For messages, e.g. `the WIT`. */
  readonly what: string;
  readonly typ: string;
  /** Pinned for this purpose; the token's `kid` picks one. */
  readonly keys: readonly TrustedKey[];
  /** Unix time, seconds. */
  readonly nowSeconds: number;
  readonly clockSkewSeconds: number;
}

/** A verified token and the key it confirms. */
export interface ConfirmedToken {
  readonly subject: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly publicJwk: PublicJwk;
  readonly thumbprint: string;
  /** `software` where the token claims nothing, or names a development policy. */
  readonly assurance: AssuranceLevel;
  readonly expiresAtSeconds: number;
}

const MAX_LIFE_SECONDS = 86_400;
/** No key, chain or key location is ever taken from a token's header. */
const HEADER_PARAMETERS = new Set(['alg', 'typ', 'kid']);

/**
 * Verifies one compact token under a pinned key: exact type, the key's own algorithm, times, and a usable
 * `cnf.jwk` with `alg`.
 * @throws KeydError `malformed_jws`, `verification_failed`, `signature_invalid`
 */
export function verifyConfirmedToken(text: string, rules: TokenRules): ConfirmedToken {
  const token = decodeJwt(text);
  checkSignature(token, rules);
  const { claims } = token;
  const expiresAtSeconds = checkTimes(claims, rules);
  const subject = claims['sub'];
  if (typeof subject !== 'string' || subject === '') return refuse(rules, 'has no sub');
  const publicJwk = confirmedKey(claims['cnf'], rules);
  const thumbprint = jwkThumbprint(publicJwk);
  return { subject, claims, publicJwk, thumbprint, assurance: assuranceOf(claims, rules), expiresAtSeconds };
}

function checkSignature(token: DecodedJwt, rules: TokenRules): void {
  const { header } = token;
  const unknown = Object.keys(header).find((name) => !HEADER_PARAMETERS.has(name));
  if (unknown !== undefined)
    refuse(rules, `has the header parameter ${unknown.slice(0, 32)}, which is not understood here`);
  if (header['typ'] === undefined || normaliseTyp(header['typ']) !== rules.typ)
    refuse(rules, `has not the typ ${rules.typ}`);
  const kid = header['kid'];
  const key = rules.keys.find((candidate) => candidate.kid === kid);
  if (key === undefined)
    return refuse(rules, 'is not signed by a key that is trusted for it: its kid is unknown');
  if (header.alg !== key.jwk.alg)
    refuse(rules, `says alg ${header.alg.slice(0, 16)}, but its key signs with ${key.jwk.alg}`);
  if (!verifySignature(key.jwk, Buffer.from(token.signingInput), token.signature)) {
    throw new KeydError('signature_invalid', `the signature of ${rules.what} does not verify`);
  }
}

function checkTimes(claims: Readonly<Record<string, unknown>>, rules: TokenRules): number {
  const iat = time(claims, 'iat', rules);
  const exp = time(claims, 'exp', rules);
  if (exp <= iat || exp - iat > MAX_LIFE_SECONDS)
    refuse(rules, `has a life outside 1 to ${MAX_LIFE_SECONDS} seconds`);
  if (iat > rules.nowSeconds + rules.clockSkewSeconds) refuse(rules, 'was issued in the future');
  if (exp <= rules.nowSeconds - rules.clockSkewSeconds) refuse(rules, 'has expired');
  if (claims['nbf'] !== undefined && time(claims, 'nbf', rules) > rules.nowSeconds + rules.clockSkewSeconds) {
    refuse(rules, 'is not valid yet');
  }
  return exp;
}

function time(claims: Readonly<Record<string, unknown>>, name: string, rules: TokenRules): number {
  const value = claims[name];
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    ? value
    : refuse(rules, `has no ${name} in whole seconds`);
}

function confirmedKey(cnf: unknown, rules: TokenRules): PublicJwk {
  if (typeof cnf !== 'object' || cnf === null || Array.isArray(cnf)) return refuse(rules, 'has no cnf');
  const unknown = Object.keys(cnf).find((name) => name !== 'jwk' && name !== 'jkt');
  if (unknown !== undefined)
    refuse(rules, `has a cnf with ${unknown.slice(0, 32)}, which is not understood here`);
  const { jwk, jkt } = cnf as { readonly jwk?: unknown; readonly jkt?: unknown };
  let key: PublicJwk;
  try {
    key = parsePublicJwk(jwk, 'cnf.jwk');
  } catch (cause) {
    const reason = cause instanceof KeydError ? cause.message : 'cnf.jwk is no key';
    throw new KeydError('verification_failed', `${rules.what} confirms no usable key: ${reason}`, { cause });
  }
  if (jkt !== undefined && jkt !== jwkThumbprint(key)) refuse(rules, 'has a cnf whose jkt is not of its jwk');
  return key;
}

function assuranceOf(claims: Readonly<Record<string, unknown>>, rules: TokenRules): AssuranceLevel {
  const claim = claims[ATTESTATION_CLAIM];
  if (claim === undefined) return 'software';
  try {
    const { level, developmentPolicy } = parse(attestationClaim, claim, 'verification_failed');
    // Only for a sandbox did the issuer let this host through: whatever it says of the key rests on software.
    return developmentPolicy === undefined ? level : 'software';
  } catch (cause) {
    const reason = cause instanceof KeydError ? cause.message : 'malformed';
    throw new KeydError('verification_failed', `${rules.what} has a bad ${ATTESTATION_CLAIM}: ${reason}`, {
      cause,
    });
  }
}

function refuse(rules: TokenRules, reason: string): never {
  throw new KeydError('verification_failed', `${rules.what} ${reason}`);
}
