/** One daemon per state directory: a lock that the kernel gives back when its holder dies, however it dies. */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { KeydError } from '../../wire/problem.ts';

export interface StateLock {
  release(): void;
}

/**
 * Takes the lock of `directory`. Node has no flock(2); an SQLite file in an exclusive transaction holds the
 * fcntl(2) locks that serve the same end, on every file system that state.db itself can lie on.
 *
 * @throws KeydError `conflict` where another process holds it
 */
export function lockState(directory: string): StateLock {
  const path = join(directory, 'lock');
  closeSync(openSync(path, 'a', 0o600));
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;');
  } catch (cause) {
    database.close();
    throw new KeydError('conflict', `another agentkeyd uses the state in ${directory}; stop it first`, {
      cause,
    });
  }
  return {
    release() {
      database.close();
    },
  };
}
