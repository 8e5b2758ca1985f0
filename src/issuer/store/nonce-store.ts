/** Nonces of host signatures: each is good once (S4). */
import type { DatabaseSync } from 'node:sqlite';
import { inTransaction, prepared } from '../../base/sqlite.ts';
import { KeydError } from '../../wire/problem.ts';
import { settled } from './rows.ts';

export class NonceStore {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /**
   * Uses a nonce of a verified signature; it is kept until no signature carrying it can be fresh any more.
   * @throws KeydError `replayed`
   */
  use(hostKeyThumbprint: string, nonce: string, expiresAtSeconds: number, nowSeconds: number): Promise<void> {
    return settled(() => {
      inTransaction(this.#database, () => {
        prepared(this.#database, 'DELETE FROM host_nonces WHERE expires_at <= ?').run(nowSeconds);
        const { changes } = prepared(
          this.#database,
          `INSERT INTO host_nonces (host_key_thumbprint, nonce, expires_at) VALUES (?, ?, ?)
             ON CONFLICT DO NOTHING`,
        ).run(hostKeyThumbprint, nonce, expiresAtSeconds);
        if (changes !== 1)
          throw new KeydError('replayed', 'the nonce of this host signature was used before');
      });
    });
  }
}
