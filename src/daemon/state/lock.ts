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
  makePrivate(path);
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

/**
 * SQLite would make the file for all to read. One that exists is not opened here: closing any descriptor of a file
 * ends all fcntl(2) locks that this process has on it.
 */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
}
