/** What the daemon demands of a challenge before its AK signs anything for it (S9). */
import { compactVerify, importJWK } from 'jose';
import {
  CHALLENGE_LIFETIME_SECONDS,
  CHALLENGE_TYP,
  challengeClaims,
  type ChallengeClaims,
  type ChannelBinding,
} from '../wire/issuance/challenge.ts';
import { parse } from '../wire/check.ts';
import type { IssuerMetadata } from '../wire/issuance/metadata.ts';
import { KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';
import type { IssuerChannel } from './issuer-channel.ts';

export interface ExpectedChallenge {
  readonly op: ChallengeClaims['op'];
  readonly session: string;
  /** EK hash (op `enroll`) or AK Name, lower-case hex. */
  readonly sub: string;
}

const CLOCK_SKEW_SECONDS = 60;

/**
 * Verifies a challenge under the pinned challenge key.
 *
 * @returns what to bind as channel: the connection's exporter, or `undefined` for `proxied`
 * @throws KeydError `issuer_refused`: a relay, a downgrade or another issuer's challenge
 */
export async function checkChallenge(
  challenge: string,
  issuer: IssuerMetadata,
  expected: ExpectedChallenge,
  configured: ChannelBinding,
  channel: IssuerChannel,
  nowMs: number,
): Promise<Uint8Array | undefined> {
  const claims = await readChallenge(challenge, issuer);
  const nowSeconds = Math.floor(nowMs / 1000);
  const fault =
    claims.iss !== issuer.issuer
      ? `is from ${claims.iss}, not ${issuer.issuer}`
      : claims.op !== expected.op
        ? `is for ${claims.op}, not ${expected.op}`
        : claims.session !== expected.session
          ? 'belongs to another session'
          : claims.sub !== expected.sub
            ? 'is for another host'
            : claims.exp - claims.iat > CHALLENGE_LIFETIME_SECONDS
              ? `lives longer than ${CHALLENGE_LIFETIME_SECONDS} s`
              : claims.exp <= nowSeconds - CLOCK_SKEW_SECONDS || claims.iat > nowSeconds + CLOCK_SKEW_SECONDS
                ? 'is not valid now; compare this host’s clock with the issuer’s'
                : claims.channel !== configured
                  ? `binds the channel by ${claims.channel}; this daemon is configured for ${configured}`
                  : undefined;
  if (fault !== undefined)
    throw new KeydError('issuer_refused', `the challenge ${fault}; nothing was attested`);
  return configured === 'exporter' ? channel.exporter() : undefined;
}

async function readChallenge(challenge: string, issuer: IssuerMetadata): Promise<ChallengeClaims> {
  const key = issuer.keys.challenge;
  let payload: Uint8Array;
  try {
    const verified = await compactVerify(challenge, await importJWK({ ...key }), { algorithms: [key.alg] });
    if (verified.protectedHeader.typ !== CHALLENGE_TYP) {
      throw new KeydError('issuer_refused', `its typ is not ${CHALLENGE_TYP}`);
    }
    payload = verified.payload;
  } catch (thrown) {
    throw new KeydError(
      'issuer_refused',
      'the challenge is not signed by the challenge key pinned at enrolment; nothing was attested',
      { cause: thrown },
    );
  }
  return parse(challengeClaims, parseStrictJson(payload, { maxDepth: 4, maxOctets: 8192 }), 'issuer_refused');
}
