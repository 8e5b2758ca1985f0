import type { DatabaseSync } from 'node:sqlite';
import type { KeyBlobRecord, KeyBlobStore, KeyPurpose } from '../../backend/backend.ts';
import { isAlgorithm } from '../../wire/algorithms.ts';
import { KeydError } from '../../wire/problem.ts';
import { integerColumn, octetsColumn, textColumn, type Row } from './columns.ts';

const PURPOSES: readonly KeyPurpose[] = ['agent', 'host', 'audit', 'issuer'];

/** Wrapped keys and their salts in state.db. */
export function openKeyBlobStore(database: DatabaseSync): KeyBlobStore {
  const put = database.prepare(
    'INSERT OR REPLACE INTO key_blobs (key_id, purpose, algorithm, blob, salt, epoch) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const get = database.prepare('SELECT * FROM key_blobs WHERE key_id = ?');
  const list = database.prepare('SELECT * FROM key_blobs ORDER BY rowid');
  const remove = database.prepare('DELETE FROM key_blobs WHERE key_id = ?');
  return {
    async put({ keyId, purpose, algorithm, blob, salt, epoch }) {
      await Promise.resolve();
      put.run(keyId, purpose, algorithm, blob, salt, epoch);
    },
    async get(keyId) {
      await Promise.resolve();
      const row = get.get(keyId);
      return row === undefined ? undefined : readRecord(row);
    },
    async list() {
      await Promise.resolve();
      return list.all().map(readRecord);
    },
    async delete(keyId) {
      await Promise.resolve();
      // `secure_delete` overwrites the row in the database; the log that still holds it is emptied after.
      remove.run(keyId);
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    },
  };
}

function readRecord(row: Row): KeyBlobRecord {
  const algorithm = textColumn(row, 'algorithm');
  const purposeText = textColumn(row, 'purpose');
  const purpose = PURPOSES.find((known) => known === purposeText);
  if (purpose === undefined || !isAlgorithm(algorithm)) {
    throw new KeydError(
      'internal',
      `state.db holds a key of purpose ${purposeText} and algorithm ${algorithm}`,
    );
  }
  return {
    keyId: textColumn(row, 'key_id'),
    purpose,
    algorithm,
    blob: octetsColumn(row, 'blob'),
    salt: octetsColumn(row, 'salt'),
    epoch: integerColumn(row, 'epoch'),
  };
}
