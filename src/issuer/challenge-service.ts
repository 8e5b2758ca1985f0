/** Challenges (S9): signed by the challenge key, single use, 60 s, for one operation of one host. */
import { randomBytes } from 'node:crypto';
import { encodeBase64url } from '../wire/base64url.ts';
import { parse } from '../wire/check.ts';
import {
  CHALLENGE_LIFETIME_SECONDS,
  CHALLENGE_TYP,
  challengeClaims,
  type ChallengeClaims,
  type ChannelBinding,
} from '../wire/issuance/challenge.ts';
import { decodeJwt } from '../wire/jws.ts';
import type { SigningKeys } from './signing-keys.ts';
import type { SessionCaps, SessionOperation, SessionStore } from './store/session-store.ts';
import type { ConsumedChallenge } from './verifier/consumed-challenge.ts';

export interface OpenedChallenge {
  readonly session: string;
  /** Compact JWS. */
  readonly challenge: string;
}

export interface TakenChallenge {
  readonly challenge: ConsumedChallenge;
  /** As given to `open`. */
  readonly data: unknown;
}

const RANDOM_OCTETS = 32;

/**
 * Only an approved EK gets as far as an enrolment session, and anyone may know an EK; the others are opened by
 * a host's own signature, so that they compete with nobody else's.
 */
const CAPS: Readonly<Record<SessionOperation, SessionCaps>> = {
  enroll: { perSubject: 4, perNetwork: 32, total: 1024 },
  reattest: { perSubject: 8, perNetwork: 100_000, total: 100_000 },
  issue: { perSubject: 64, perNetwork: 100_000, total: 100_000 },
};

export class ChallengeService {
  readonly #keys: SigningKeys;
  readonly #sessions: SessionStore;
  readonly #issuer: string;
  readonly #channel: ChannelBinding;

  constructor(keys: SigningKeys, sessions: SessionStore, issuer: string, channel: ChannelBinding) {
    this.#keys = keys;
    this.#sessions = sessions;
    this.#issuer = issuer;
    this.#channel = channel;
  }

  /**
   * @param subject SHA-256 of the EK's TPMT_PUBLIC (`enroll`) or the AK Name, lower-case hex
   * @param data what the operation has to remember, JSON
   * @throws KeydError `too_many_requests`, and what the key backend rejects with
   */
  async open(
    op: SessionOperation,
    subject: string,
    network: string,
    data: unknown,
    nowSeconds: number,
  ): Promise<OpenedChallenge> {
    const session = encodeBase64url(randomBytes(RANDOM_OCTETS));
    const claims: ChallengeClaims = {
      iss: this.#issuer,
      op,
      session,
      nonce: encodeBase64url(randomBytes(RANDOM_OCTETS)),
      sub: subject,
      channel: this.#channel,
      iat: nowSeconds,
      exp: nowSeconds + CHALLENGE_LIFETIME_SECONDS,
    };
    const challenge = await this.#keys.signJwt('challenge', CHALLENGE_TYP, claims);
    const record = { session, op, subject, network, challenge, data, expiresAtSeconds: claims.exp };
    await this.#sessions.open(record, CAPS[op], nowSeconds);
    return { session, challenge };
  }

  /**
   * Takes a session; it is used from now on, whatever becomes of the evidence.
   * @param subject whose it must be; undefined where the evidence itself says who it is (enrolment)
   * @throws KeydError `session_unknown`
   */
  async take(
    session: string,
    op: SessionOperation,
    subject: string | undefined,
    nowSeconds: number,
  ): Promise<TakenChallenge> {
    const taken = await this.#sessions.take(session, op, subject, nowSeconds);
    const claims = parse(challengeClaims, decodeJwt(taken.challenge).claims, 'internal');
    return { challenge: { jws: taken.challenge, claims }, data: taken.data };
  }
}
