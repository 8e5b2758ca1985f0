/** Check 2: the challenge that evidence answers. The store takes it out exactly once; the rest is judged here. */
import type { ChallengeClaims } from '../../wire/issuance/challenge.ts';
import type { Appraisal } from './checks.ts';

/** A challenge that the issuer signed and that its store has just taken out, so that it can not come again. */
export interface ConsumedChallenge {
  /** Compact JWS as sent. */
  readonly jws: string;
  readonly claims: ChallengeClaims;
}

export interface ExpectedChallenge {
  readonly op: ChallengeClaims['op'];
  /** Session that the evidence names. */
  readonly session: string;
  /** SHA-256 of the EK's TPMT_PUBLIC for `enroll`, the AK Name otherwise, lower-case hex. */
  readonly subject: string;
  readonly nowSeconds: number;
}

/** @throws KeydError `evidence_invalid` for a challenge that is unknown, used, expired or another's */
export function checkChallenge(
  appraisal: Appraisal,
  challenge: ConsumedChallenge | undefined,
  expected: ExpectedChallenge,
): ConsumedChallenge {
  return appraisal.check(2, (verdict) => {
    if (challenge === undefined) return verdict.reject('the challenge is unknown or was used before');
    const { claims } = challenge;
    if (claims.op !== expected.op)
      verdict.reject(`the challenge is for ${claims.op}, not for ${expected.op}`);
    if (claims.session !== expected.session) verdict.reject('the challenge belongs to another session');
    if (claims.sub !== expected.subject) verdict.reject('the challenge was given to another TPM');
    if (claims.exp < expected.nowSeconds) verdict.reject('the challenge has expired');
    return challenge;
  });
}
