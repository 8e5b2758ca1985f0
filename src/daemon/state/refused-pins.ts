import type { DatabaseSync } from 'node:sqlite';
import type { PinFailureStore } from '../../backend/pkcs11/pin-guard.ts';

/** PINs that a token refused, as keyed hashes in state.db (S17). */
export function openRefusedPins(database: DatabaseSync): PinFailureStore {
  const has = database.prepare('SELECT 1 FROM refused_pins WHERE hash = ?');
  const add = database.prepare('INSERT OR IGNORE INTO refused_pins (hash) VALUES (?)');
  return {
    async has(hash) {
      await Promise.resolve();
      return has.get(hash) !== undefined;
    },
    async add(hash) {
      await Promise.resolve();
      add.run(hash);
    },
  };
}
