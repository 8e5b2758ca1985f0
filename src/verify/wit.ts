import { WIT_TYP } from '../wire/credential-claims.ts';
import { KeydError } from '../wire/problem.ts';
import { verifyConfirmedToken, type ConfirmedToken } from './confirmed-token.ts';
import type { TrustedKey } from './trusted-keys.ts';

/** What a relying party pins to accept Workload Identity Tokens. */
export interface WitTrust {
  /** `example.org`: subjects are `spiffe://example.org/...`. */
  readonly trustDomain: string;
  /** The WIT signing keys of that trust domain; keys for other purposes do not belong here (S14). */
  readonly keys: readonly TrustedKey[];
}

export interface TokenClock {
  /** Unix time, seconds. */
  readonly nowSeconds: number;
  readonly clockSkewSeconds: number;
}

/**
 * Verifies a WIT (draft-ietf-wimse-s2s-protocol, `wit+jwt`) under the trust domain's pinned keys; its `iss`
 * plays no part. A WIT is no bearer token: the caller must still prove possession of the confirmed key.
 * @throws KeydError `malformed_jws`, `verification_failed`, `signature_invalid`
 */
export function verifyWit(wit: string, trust: WitTrust, clock: TokenClock): ConfirmedToken {
  const token = verifyConfirmedToken(wit, { what: 'the WIT', typ: WIT_TYP, keys: trust.keys, ...clock });
  const prefix = `spiffe://${trust.trustDomain}/`;
  if (!token.subject.startsWith(prefix) || !isSpiffePath(token.subject.slice(prefix.length))) {
    throw new KeydError(
      'verification_failed',
      `the WIT's sub is no SPIFFE ID of the trust domain ${trust.trustDomain}`,
    );
  }
  return token;
}

/** SPIFFE-ID §2.2: non-empty segments of letters, digits, dot, hyphen, underscore; none relative. */
function isSpiffePath(path: string): boolean {
  return (
    path.length <= 2048 &&
    path
      .split('/')
      .every((segment) => /^[A-Za-z0-9._-]+$/.test(segment) && segment !== '.' && segment !== '..')
  );
}
