import { randomBytes } from 'node:crypto';
import type { ConsumedChallenge } from '../../src/issuer/verifier/consumed-challenge.ts';
import { CHALLENGE_LIFETIME_SECONDS, type ChallengeClaims } from '../../src/wire/issuance/challenge.ts';

/** A challenge as the issuer's store takes it out. Its signature is the issuer's business, not the Verifier's. */
export function consumedChallenge(
  op: ChallengeClaims['op'],
  subject: string,
  nowSeconds: number,
): ConsumedChallenge {
  const claims: ChallengeClaims = {
    iss: 'https://issuer.example',
    op,
    session: randomBytes(16).toString('base64url'),
    nonce: randomBytes(32).toString('base64url'),
    sub: subject,
    channel: 'exporter',
    iat: nowSeconds,
    exp: nowSeconds + CHALLENGE_LIFETIME_SECONDS,
  };
  return { jws: `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`, claims };
}
