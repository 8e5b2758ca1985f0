/** Indices of status lists: given out once, each to one host, and revoked for good (S18). */
import { randomInt } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { inTransaction, prepared } from '../../base/sqlite.ts';
import { KeydError } from '../../wire/problem.ts';
import { integerOf, settled, textOf } from './rows.ts';

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
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
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
    return settled(() =>
      inTransaction(this.#database, () => {
        this.#checkShare(ekHash, count, nowSeconds, caps);
        const list = this.#openList(count, caps);
        const insert = prepared(
          this.#database,
          `INSERT INTO status_indices (list, idx, ek_sha256, allocated_at) VALUES (?, ?, ?, ?)
           ON CONFLICT DO NOTHING`,
        );
        const given: StatusIndex[] = [];
        while (given.length < count) {
          const idx = randomInt(LIST_SIZE);
          if (insert.run(list, idx, ekHash, nowSeconds).changes === 1) given.push({ list, idx });
        }
        prepared(this.#database, 'UPDATE status_lists SET used = used + ? WHERE list = ?').run(count, list);
        return given;
      }),
    );
  }

  /**
   * The index of what is granted to a key, the same whenever it is asked for.
   * @throws KeydError `too_many_requests` as `allocate`
   */
  async ofGrant(ekHash: string, keyThumbprint: string, nowSeconds: number): Promise<StatusIndex> {
    const known = this.#grantIndex(keyThumbprint);
    if (known !== undefined) return known;
    const [given] = await this.allocate(ekHash, 1, nowSeconds);
    if (given !== undefined) {
      prepared(
        this.#database,
        'INSERT INTO grant_statuses (key_thumbprint, list, idx) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
      ).run(keyThumbprint, given.list, given.idx);
    }
    // Of two that were given at once, one holds.
    const kept = this.#grantIndex(keyThumbprint);
    if (kept === undefined) throw new KeydError('internal', 'no status index for a grant');
    return kept;
  }

  /** Whether an index is revoked; undefined where it was never given out. */
  isRevoked({ list, idx }: StatusIndex): Promise<boolean | undefined> {
    return settled(() => {
      const row = prepared(
        this.#database,
        'SELECT revoked_at FROM status_indices WHERE list = ? AND idx = ?',
      ).get(list, idx);
      return row === undefined ? undefined : row['revoked_at'] !== null;
    });
  }

  /**
   * Revokes indices of a host, all or none; what was revoked stays so.
   * @returns how many were not revoked before
   * @throws KeydError `policy_denied` for an index that is not the host's
   */
  revoke(ekHash: string, indices: readonly StatusIndex[], nowSeconds: number): Promise<number> {
    return settled(() =>
      inTransaction(this.#database, () => {
        const find = prepared(
          this.#database,
          'SELECT ek_sha256 FROM status_indices WHERE list = ? AND idx = ?',
        );
        const revoke = prepared(
          this.#database,
          'UPDATE status_indices SET revoked_at = ? WHERE list = ? AND idx = ? AND revoked_at IS NULL',
        );
        const touch = prepared(
          this.#database,
          'UPDATE status_lists SET revision = revision + 1 WHERE list = ?',
        );
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
      }),
    );
  }

  /** A number that grows with every revocation on this list; undefined where there is no such list. */
  revision(list: number): Promise<number | undefined> {
    return settled(() => {
      const row = prepared(this.#database, 'SELECT revision FROM status_lists WHERE list = ?').get(list);
      return row === undefined ? undefined : integerOf(row, 'revision');
    });
  }

  /** Every index of a list that was given out. */
  read(list: number): Promise<readonly ListedStatus[]> {
    return settled(() =>
      prepared(this.#database, 'SELECT idx, ek_sha256, revoked_at FROM status_indices WHERE list = ?')
        .all(list)
        .map((row) => ({
          idx: integerOf(row, 'idx'),
          ekHash: textOf(row, 'ek_sha256'),
          revoked: row['revoked_at'] !== null,
        })),
    );
  }

  #grantIndex(keyThumbprint: string): StatusIndex | undefined {
    const row = prepared(this.#database, 'SELECT list, idx FROM grant_statuses WHERE key_thumbprint = ?').get(
      keyThumbprint,
    );
    return row === undefined ? undefined : { list: integerOf(row, 'list'), idx: integerOf(row, 'idx') };
  }

  #checkShare(ekHash: string, count: number, nowSeconds: number, { perHostPerDay }: StatusCaps): void {
    const row = prepared(
      this.#database,
      'SELECT count(*) AS n FROM status_indices WHERE ek_sha256 = ? AND allocated_at > ?',
    ).get(ekHash, nowSeconds - DAY_SECONDS);
    if (integerOf(row ?? {}, 'n') + count > perHostPerDay) {
      throw new KeydError('too_many_requests', `this host has had its ${perHostPerDay} indices of the day`, {
        retryAfterSeconds: 3600,
      });
    }
  }

  #openList(count: number, { perList }: StatusCaps): number {
    const row = prepared(
      this.#database,
      'SELECT list FROM status_lists WHERE used + ? <= ? ORDER BY list DESC LIMIT 1',
    ).get(count, perList);
    if (row !== undefined) return integerOf(row, 'list');
    const { lastInsertRowid } = prepared(
      this.#database,
      'INSERT INTO status_lists (used, revision) VALUES (0, 0)',
    ).run();
    return Number(lastInsertRowid);
  }
}
