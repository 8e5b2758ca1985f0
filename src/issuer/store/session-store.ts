/** Single-use challenge sessions, capped so that no host and no network can push out another's (S20). */
import type { CommitGroup } from '../../base/commit-group.ts';
import { KeydError } from '../../wire/problem.ts';
import type { ChallengeClaims } from '../../wire/issuance/challenge.ts';
import { integerOf, jsonOf, textOf, type Row } from './rows.ts';

export type SessionOperation = ChallengeClaims['op'];

export interface Session {
  readonly session: string;
  readonly op: SessionOperation;
  /** EK hash (op `enroll`) or AK Name, hex. */
  readonly subject: string;
  /** Network the challenge was asked from (http/network.ts). */
  readonly network: string;
  /** The challenge as sent, compact JWS. */
  readonly challenge: string;
  /** What the operation has to remember; JSON of its own shape. */
  readonly data: unknown;
  readonly expiresAtSeconds: number;
}

export interface SessionCaps {
  /** Open sessions of one operation for one subject from one network; the oldest of them gives way. */
  readonly perSubject: number;
  /** Open sessions of one operation from one network; beyond it a new one is refused. */
  readonly perNetwork: number;
  /** Open sessions of one operation; beyond it a new one is refused. */
  readonly total: number;
}

export class SessionStore {
  readonly #state: CommitGroup;
  /** The second of the last sweep. */
  #sweptAtSeconds: number | undefined;

  constructor(state: CommitGroup) {
    this.#state = state;
  }

  /**
   * Opens a session. Only sessions of the same operation, subject and network ever give way to it.
   * @throws KeydError `too_many_requests` where the network or the issuer has its share open
   */
  open(session: Session, caps: SessionCaps, nowSeconds: number): Promise<void> {
    return this.#state.write(() => {
      if (this.#sweptAtSeconds !== nowSeconds) {
        this.#state.statement('DELETE FROM sessions WHERE expires_at <= ?').run(nowSeconds);
        this.#sweptAtSeconds = nowSeconds;
      }
      this.#makeRoom(session, caps);
      this.#state
        .statement(
          `INSERT INTO sessions (session, op, subject, network, challenge, data, opened_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          session.session,
          session.op,
          session.subject,
          session.network,
          session.challenge,
          JSON.stringify(session.data),
          nowSeconds,
          session.expiresAtSeconds,
        );
    });
  }

  /**
   * Takes a session for good: whatever becomes of the evidence, it is used. With `subject`, only that
   * subject's; another's stays untouched.
   * @throws KeydError `session_unknown` where it is unknown, used, expired or of another operation or subject
   */
  take(
    session: string,
    op: SessionOperation,
    subject: string | undefined,
    nowSeconds: number,
  ): Promise<Session> {
    return this.#state.write(() => {
      const row = this.#state
        .statement(
          `DELETE FROM sessions WHERE session = ? AND op = ? AND (? IS NULL OR subject = ?) RETURNING *`,
        )
        .get(session, op, subject ?? null, subject ?? null);
      if (row === undefined || integerOf(row, 'expires_at') <= nowSeconds) {
        throw new KeydError(
          'session_unknown',
          'the session is unknown, was used, has expired or is for another operation; ask for a new challenge',
        );
      }
      return toSession(row, op);
    });
  }

  #makeRoom({ op, subject, network }: Session, caps: SessionCaps): void {
    this.#state
      .statement(
        `DELETE FROM sessions WHERE session IN (
           SELECT session FROM sessions WHERE op = ? AND subject = ? AND network = ?
           ORDER BY opened_at DESC, rowid DESC LIMIT -1 OFFSET ?)`,
      )
      .run(op, subject, network, caps.perSubject - 1);
    const open = (where: string, ...values: string[]): number =>
      integerOf(
        this.#state.statement(`SELECT count(*) AS n FROM sessions WHERE ${where}`).get(...values) ?? {},
        'n',
      );
    if (open('op = ? AND network = ?', op, network) >= caps.perNetwork || open('op = ?', op) >= caps.total) {
      throw new KeydError('too_many_requests', 'too many challenges are open; answer them or wait', {
        retryAfterSeconds: 30,
      });
    }
  }
}

function toSession(row: Row, op: SessionOperation): Session {
  return {
    session: textOf(row, 'session'),
    op,
    subject: textOf(row, 'subject'),
    network: textOf(row, 'network'),
    challenge: textOf(row, 'challenge'),
    data: jsonOf(row, 'data'),
    expiresAtSeconds: integerOf(row, 'expires_at'),
  };
}
