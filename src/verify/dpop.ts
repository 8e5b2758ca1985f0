import { createHash, timingSafeEqual } from 'node:crypto';
import { jwkThumbprint, parsePublicJwk, type PublicJwk } from '../wire/jwk.ts';
import { decodeJwt, type DecodedJwt } from '../wire/jws.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { verifySignature } from '../wire/public-key.ts';
import type { TargetUri } from '../wire/target-uri.ts';
import { normaliseTyp } from '../wire/typ.ts';
import { spendNonce, type NonceStore } from './nonce-store.ts';

export interface DpopExpectations {
  readonly method: string;
  /** The target of this request, from `rebuildTarget`. */
  readonly target: TargetUri;
  /** Single use of (thumbprint, jti), shared by all replicas. */
  readonly nonceStore: NonceStore;
  /** The access token of the Authorization field; its `ath` is then demanded (RFC 9449 §7). */
  readonly accessToken?: string;
  /** `cnf.jkt` of that token: the proof must be by this key. */
  readonly thumbprint?: string;
  /** The nonce this server handed out, where it does (RFC 9449 §8). */
  readonly nonce?: string;
  /** Default 60. */
  readonly maxAgeSeconds?: number;
  /** Default 5. */
  readonly clockSkewSeconds?: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

export interface VerifiedDpop {
  readonly publicJwk: PublicJwk;
  readonly thumbprint: string;
  readonly jti: string;
  /** Unix time, seconds. */
  readonly issuedAt: number;
}

const TYP = 'dpop+jwt';
const MAX_JTI_LENGTH = 256;

/**
 * Verifies a DPoP proof (RFC 9449 §4.3) and spends its `jti`. A proof binds method and URI without its query: not
 * the query, not the body, so it never stands in for an HTTP message signature (S3).
 * @throws KeydError `malformed_jws`, `verification_failed`, `signature_invalid`, `replayed`, `replay_check_unavailable`
 */
export async function verifyDpop(proof: string, expected: DpopExpectations): Promise<VerifiedDpop> {
  const token = decodeJwt(proof);
  const publicJwk = proofKey(token);
  if (!verifySignature(publicJwk, Buffer.from(token.signingInput), token.signature)) {
    throw new KeydError('signature_invalid', 'the signature of the DPoP proof does not verify');
  }
  const thumbprint = jwkThumbprint(publicJwk);
  if (expected.thumbprint !== undefined && thumbprint !== expected.thumbprint) {
    refuse('is not by the key that the access token is bound to');
  }
  const { claims } = token;
  if (claims['htm'] !== expected.method) refuse('is for another method');
  const { origin, path } = expected.target;
  if (claims['htu'] !== origin + path) refuse('is for another URI');
  checkHash(claims['ath'], expected.accessToken);
  if (expected.nonce !== undefined && claims['nonce'] !== expected.nonce)
    refuse('lacks the nonce of this server');
  const maxAge = expected.maxAgeSeconds ?? 60;
  const skew = expected.clockSkewSeconds ?? 5;
  const issuedAt = checkTime(claims['iat'], Math.floor((expected.clock ?? Date.now)() / 1000), maxAge, skew);
  const { jti } = claims;
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI_LENGTH) return refuse('has no jti');
  // Keys of proofs and of signatures share a store: the prefix keeps a jti from being a signature nonce.
  await spendNonce(expected.nonceStore, thumbprint, `dpop ${jti}`, issuedAt + maxAge + skew + 60);
  return { publicJwk, thumbprint, jti, issuedAt };
}

function proofKey({ header }: DecodedJwt): PublicJwk {
  const unknown = Object.keys(header).find((name) => !['alg', 'typ', 'jwk'].includes(name));
  if (unknown !== undefined)
    refuse(`has the header parameter ${unknown.slice(0, 32)}, which is not understood here`);
  if (header['typ'] === undefined || normaliseTyp(header['typ']) !== TYP) refuse(`has not the typ ${TYP}`);
  const jwk = header['jwk'];
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) return refuse('has no jwk');
  const own = (jwk as Readonly<Record<string, unknown>>)['alg'];
  if (own !== undefined && own !== header.alg) refuse('has another alg than its key');
  try {
    // The key in a proof seldom says its alg; kty and crv must then allow the header's (parsePublicJwk checks).
    return parsePublicJwk({ ...jwk, alg: header.alg }, 'the jwk of the DPoP proof');
  } catch (cause) {
    throw new KeydError('verification_failed', asKeydError(cause).message, { cause });
  }
}

function checkHash(ath: unknown, accessToken: string | undefined): void {
  if (accessToken === undefined) return;
  const wanted = createHash('sha256').update(accessToken, 'ascii').digest('base64url');
  if (typeof ath !== 'string' || ath.length !== wanted.length) return refuse('has no ath');
  if (!timingSafeEqual(Buffer.from(ath, 'latin1'), Buffer.from(wanted, 'latin1')))
    refuse('is for another access token');
}

function checkTime(iat: unknown, nowSeconds: number, maxAge: number, skew: number): number {
  if (typeof iat !== 'number' || !Number.isSafeInteger(iat)) return refuse('has no iat in whole seconds');
  if (iat > nowSeconds + skew) refuse('was made in the future');
  if (nowSeconds - iat > maxAge) refuse(`is older than ${maxAge} seconds`);
  return iat;
}

function refuse(reason: string): never {
  throw new KeydError('verification_failed', `the DPoP proof ${reason}`);
}
