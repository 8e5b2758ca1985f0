import { createHash } from 'node:crypto';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { KeydError } from '../wire/problem.ts';
import type { NonceStore } from './nonce-store.ts';

export interface SqliteNonceStoreOptions {
  /** A file on a local disk; every process that opens it shares the nonces. */
  readonly path: string;
  /** Claims kept at most; beyond that requests are refused until older ones expire. Default 1,000,000. */
  readonly maxEntries?: number;
  /** How long a claim waits for another process's write, milliseconds. Default 1000. */
  readonly busyTimeoutMs?: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

/** Nonces in an SQLite file, shared by processes of one host and kept over restarts and power loss. */
export class SqliteNonceStore implements NonceStore {
  readonly #database: DatabaseSync;
  readonly #maxEntries: number;
  readonly #clock: () => number;
  readonly #insert: StatementSync;
  readonly #purge: StatementSync;
  readonly #count: StatementSync;
  #countedAtSeconds = 0;
  #entries = 0;

  /** @throws KeydError `configuration_invalid` where the file can not be opened or is another database */
  constructor(options: SqliteNonceStoreOptions) {
    this.#maxEntries = options.maxEntries ?? 1_000_000;
    this.#clock = options.clock ?? Date.now;
    this.#database = open(options.path, options.busyTimeoutMs ?? 1000);
    this.#insert = this.#database.prepare(`INSERT INTO used_nonce VALUES (?, ?, ?) ON CONFLICT DO NOTHING`);
    this.#purge = this.#database.prepare('DELETE FROM used_nonce WHERE expires_at < ?');
    this.#count = this.#database.prepare('SELECT count(*) AS entries FROM used_nonce');
  }

  /** @throws KeydError `replay_check_unavailable` where the file can not be written or the store is full */
  claim(thumbprint: string, nonce: string, expiresAtSeconds: number): Promise<boolean> {
    try {
      this.#expire(Math.floor(this.#clock() / 1000));
      if (this.#entries >= this.#maxEntries) {
        return Promise.reject(new KeydError('replay_check_unavailable', 'the nonce store is full'));
      }
      const digest = createHash('sha256').update(nonce).digest();
      const { changes } = this.#insert.run(thumbprint, digest, expiresAtSeconds);
      this.#entries += Number(changes);
      return Promise.resolve(changes === 1);
    } catch (cause) {
      return Promise.reject(
        new KeydError('replay_check_unavailable', 'the nonce store can not be written', { cause }),
      );
    }
  }

  close(): void {
    this.#database.close();
  }

  // Once a second: the count is of all processes, so it is taken from the table, not kept here.
  #expire(nowSeconds: number): void {
    if (nowSeconds === this.#countedAtSeconds) return;
    this.#purge.run(nowSeconds);
    this.#entries = Number(this.#count.get()?.['entries']);
    this.#countedAtSeconds = nowSeconds;
  }
}

function open(path: string, busyTimeoutMs: number): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: busyTimeoutMs });
    // FULL: a nonce that a power loss forgets is a replay.
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    database.exec(
      `CREATE TABLE IF NOT EXISTS used_nonce (
         thumbprint TEXT NOT NULL,
         nonce_sha256 BLOB NOT NULL,
         expires_at INTEGER NOT NULL,
         PRIMARY KEY (thumbprint, nonce_sha256)
       ) STRICT, WITHOUT ROWID;
       CREATE INDEX IF NOT EXISTS used_nonce_expiry ON used_nonce (expires_at);`,
    );
    return database;
  } catch (cause) {
    database?.close();
    throw new KeydError('configuration_invalid', `the nonce store ${path} can not be opened`, { cause });
  }
}
