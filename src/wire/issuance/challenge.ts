/** The issuer's signed challenge, `agentkey-challenge+jwt` (S9): single use, 60 s, one operation. */
import { integer, object, oneOf, text, type Infer } from '../check.ts';

export const CHALLENGE_TYP = 'agentkey-challenge+jwt';
export const CHALLENGE_LIFETIME_SECONDS = 60;

/**
 * `exporter`: evidence binds the TLS connection that carries it. `proxied`: TLS ends at a balancer, zeros
 * are bound; a downgrade, so both sides must be configured for it.
 */
export const CHANNEL_BINDINGS = ['exporter', 'proxied'] as const;
export type ChannelBinding = (typeof CHANNEL_BINDINGS)[number];

export const challengeClaims = object({
  iss: text({ maxLength: 512 }),
  op: oneOf(['enroll', 'reattest', 'issue']),
  session: text({ maxLength: 64, pattern: /^[A-Za-z0-9_-]{22,64}$/ }),
  /** 32 octets, base64url. */
  nonce: text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ }),
  /** SHA-256 of the EK's TPMT_PUBLIC (op `enroll`) or the AK Name, lower-case hex. */
  sub: text({ maxLength: 132, pattern: /^[0-9a-f]{64,132}$/ }),
  channel: oneOf(CHANNEL_BINDINGS),
  iat: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  exp: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
});

export type ChallengeClaims = Infer<typeof challengeClaims>;
