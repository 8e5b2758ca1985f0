import type { DatabaseSync } from 'node:sqlite';
import type { IdempotencyRow, IdempotencyStore, StoredAnswer } from '../../socket/idempotency.ts';
import { integerColumn, jsonColumn, textColumn } from './columns.ts';

/** Idempotency keys and their answers in state.db. */
export function openIdempotencyStore(database: DatabaseSync): IdempotencyStore {
  const find = database.prepare(
    'SELECT request_digest, answer FROM idempotency WHERE caller = ? AND key = ? AND expires_at_ms > ?',
  );
  const count = database.prepare(
    'SELECT count(*) AS n FROM idempotency WHERE caller = ? AND expires_at_ms > ?',
  );
  const begin = database.prepare(
    'INSERT OR REPLACE INTO idempotency (caller, key, request_digest, answer, expires_at_ms) VALUES (?, ?, ?, NULL, ?)',
  );
  const finish = database.prepare(
    'UPDATE idempotency SET answer = ?, expires_at_ms = ? WHERE caller = ? AND key = ?',
  );
  const remove = database.prepare('DELETE FROM idempotency WHERE caller = ? AND key = ?');
  const removeExpired = database.prepare('DELETE FROM idempotency WHERE expires_at_ms <= ?');
  return {
    find(caller, key, nowMs): IdempotencyRow | undefined {
      const row = find.get(caller, key, nowMs);
      if (row === undefined) return undefined;
      return {
        requestDigest: textColumn(row, 'request_digest'),
        answer: row['answer'] === null ? undefined : (jsonColumn(row, 'answer') as StoredAnswer),
      };
    },
    count(caller, nowMs) {
      const row = count.get(caller, nowMs);
      return row === undefined ? 0 : integerColumn(row, 'n');
    },
    // REPLACE: a row that has expired may still lie there under the same key.
    begin({ caller, key, requestDigest, expiresAtMs }) {
      begin.run(caller, key, requestDigest, expiresAtMs);
    },
    finish(caller, key, answer, expiresAtMs) {
      finish.run(JSON.stringify(answer), expiresAtMs, caller, key);
    },
    remove(caller, key) {
      remove.run(caller, key);
    },
    removeExpired(nowMs) {
      removeExpired.run(nowMs);
    },
  };
}
