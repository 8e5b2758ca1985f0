import { cpSync, rmSync } from 'node:fs';

/** A folder as it is. A file may be removed while the copy is being made: the copy is then made again. */
export function copyAll(from: string, to: string): void {
  for (;;) {
    try {
      cpSync(from, to, { recursive: true });
      return;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
      rmSync(to, { recursive: true, force: true });
    }
  }
}
