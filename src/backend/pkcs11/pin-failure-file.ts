import { open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { PinFailureStore } from './pin-guard.ts';

/**
 * Refused PINs in a file of one keyed hash a line (mode 0600), synced before `add` resolves. A torn last line
 * matches no hash and does no harm.
 */
export function openPinFailureFile(path: string): PinFailureStore {
  return {
    async has(hash) {
      return (await lines(path)).includes(hash);
    },
    async add(hash) {
      if ((await lines(path)).includes(hash)) return;
      const file = await open(path, 'a', 0o600);
      try {
        // The line break comes first too, so that a torn line before this one does not swallow it.
        await file.appendFile(`\n${hash}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      const directory = await open(dirname(path), 'r');
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    },
  };
}

async function lines(path: string): Promise<readonly string[]> {
  try {
    return (await readFile(path, 'utf8')).split('\n');
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return [];
    throw thrown;
  }
}
