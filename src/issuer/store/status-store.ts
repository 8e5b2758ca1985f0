/** Indices of status lists: given out once, each to one host, and revoked for good (S18). */
import { randomInt } from 'node:crypto';
import type { CommitGroup } from '../../base/commit-group.ts';
import { KeydError } from '../../wire/problem.ts';
import { integerOf, textOf } from './rows.ts';

export interface StatusIndex {
  readonly list: number;
  readonly idx: number;
}

/** One list as it is kept. */
export interface ListedStatus {
  readonly idx: number;
  /** Whose it is: SHA-256 of the EK's TPMT_PUBLIC, hex. */
  readonly ekHash: string;
  readonly revoked: boolean;
}

export interface StatusCaps {
  /** Indices of a host within any 24 hours. */
  readonly perHostPerDay: number;
  /** After so many of a list another one is begun: a random free index is then found at once. */
  readonly perList: number;
}

/** Statuses of a list, one bit each: 16 KiB, and some hundred octets where few are revoked. */
export const LIST_SIZE = 2 ** 17;
export const DEFAULT_CAPS: StatusCaps = { perHostPerDay: 20_000, perList: LIST_SIZE / 2 };
const DAY_SECONDS = 86_400;

export class StatusStore {
  readonly #state: CommitGroup;

  constructor(state: CommitGroup) {
    this.#state = state;
  }

  /**
   * Gives a host indices, at random so that they tell nothing about when and for whom.
   * @throws KeydError `too_many_requests` where the host had its share of the day
   */
  allocate(
    ekHash: string,
    count: number,
    nowSeconds: number,
    caps: StatusCaps = DEFAULT_CAPS,
  ): Promise<readonly StatusIndex[]> {
    return this.#state.write(() => this.#allocate(ekHash, count, nowSeconds, caps));
  }

  /**
   * The index of what is granted to a key, the same whenever it is asked for.
   * @throws KeydError `too_many_requests` as `allocate`
   */
  ofGrant(ekHash: string, keyThumbprint: string, nowSeconds: number): Promise<StatusIndex> {
    return this.#state.write(() => {
      const known = this.#grantIndex(keyThumbprint);
      if (known !== undefined) return known;
      const [given] = this.#allocate(ekHash, 1, nowSeconds, DEFAULT_CAPS);
      if (given === undefined) throw new KeydError('internal', 'no status index for a grant');
      this.#state
        .statement('INSERT INTO grant_statuses (key_thumbprint, list, idx) VALUES (?, ?, ?)')
        .run(keyThumbprint, given.list, given.idx);
      return given;
    });
  }

  /** Whether an index is revoked; undefined where it was never given out. */
  isRevoked({ list, idx }: StatusIndex): Promise<boolean | undefined> {
    return this.#state.read(() => {
      const row = this.#state
        .statement('SELECT revoked_at FROM status_indices WHERE list = ? AND idx = ?')
        .get(list, idx);
      return row === undefined ? undefined : row['revoked_at'] !== null;
    });
  }

  /**
   * Revokes indices of a host, all or none; what was revoked stays so.
   * @returns how many were not revoked before
   * @throws KeydError `policy_denied` for an index that is not the host's
   */
  revoke(ekHash: string, indices: readonly StatusIndex[], nowSeconds: number): Promise<number> {
    return this.#state.write(() => {
      const find = this.#state.statement('SELECT ek_sha256 FROM status_indices WHERE list = ? AND idx = ?');
      const revoke = this.#state.statement(
        'UPDATE status_indices SET revoked_at = ? WHERE list = ? AND idx = ? AND revoked_at IS NULL',
      );
      const touch = this.#state.statement('UPDATE status_lists SET revision = revision + 1 WHERE list = ?');
      let revoked = 0;
      for (const { list, idx } of indices) {
        const row = find.get(list, idx);
        if (row === undefined || textOf(row, 'ek_sha256') !== ekHash) {
          throw new KeydError('policy_denied', 'a host revokes its own indices only');
        }
        if (revoke.run(nowSeconds, list, idx).changes !== 1) continue;
        touch.run(list);
        revoked += 1;
      }
      return revoked;
    });
  }

  /** A number that grows with every revocation on this list; undefined where there is no such list. */
  revision(list: number): Promise<number | undefined> {
    return this.#state.read(() => {
      const row = this.#state.statement('SELECT revision FROM status_lists WHERE list = ?').get(list);
      return row === undefined ? undefined : integerOf(row, 'revision');
    });
  }

  /** Every index of a list that was given out. */
  read(list: number): Promise<readonly ListedStatus[]> {
    return this.#state.read(() =>
      this.#state
        .statement('SELECT idx, ek_sha256, revoked_at FROM status_indices WHERE list = ?')
        .all(list)
        .map((row) => ({
          idx: integerOf(row, 'idx'),
          ekHash: textOf(row, 'ek_sha256'),
          revoked: row['revoked_at'] !== null,
        })),
    );
  }

  #grantIndex(keyThumbprint: string): StatusIndex | undefined {
    const row = this.#state
      .statement('SELECT list, idx FROM grant_statuses WHERE key_thumbprint = ?')
      .get(keyThumbprint);
    return row === undefined ? undefined : { list: integerOf(row, 'list'), idx: integerOf(row, 'idx') };
  }

  #allocate(ekHash: string, count: number, nowSeconds: number, caps: StatusCaps): readonly StatusIndex[] {
    this.#checkShare(ekHash, count, nowSeconds, caps);
    const list = this.#openList(count, caps);
    const insert = this.#state
      .statement(`INSERT INTO status_indices (list, idx, ek_sha256, allocated_at) VALUES (?, ?, ?, ?)
           ON CONFLICT DO NOTHING`);
    const given: StatusIndex[] = [];
    while (given.length < count) {
      const idx = randomInt(LIST_SIZE);
      if (insert.run(list, idx, ekHash, nowSeconds).changes === 1) given.push({ list, idx });
    }
    this.#state.statement('UPDATE status_lists SET used = used + ? WHERE list = ?').run(count, list);
    return given;
  }

  #checkShare(ekHash: string, count: number, nowSeconds: number, { perHostPerDay }: StatusCaps): void {
    const row = this.#state
      .statement('SELECT count(*) AS n FROM status_indices WHERE ek_sha256 = ? AND allocated_at > ?')
      .get(ekHash, nowSeconds - DAY_SECONDS);
    if (integerOf(row ?? {}, 'n') + count > perHostPerDay) {
      throw new KeydError('too_many_requests', `this host has had its ${perHostPerDay} indices of the day`, {
        retryAfterSeconds: 3600,
      });
    }
  }

  #openList(count: number, { perList }: StatusCaps): number {
    const row = this.#state
      .statement('SELECT list FROM status_lists WHERE used + ? <= ? ORDER BY list DESC LIMIT 1')
      .get(count, perList);
    if (row !== undefined) return integerOf(row, 'list');
    const { lastInsertRowid } = this.#state
      .statement('INSERT INTO status_lists (used, revision) VALUES (0, 0)')
      .run();
    return Number(lastInsertRowid);
  }
}
