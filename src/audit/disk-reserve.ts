/** Disk that is kept for entries which have to be written when there is no other left (S16). */
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FILE = 'reserve';
/** Taken again only where this many times as much is free, so that it is not given and taken in turns. */
const AMPLE = 4;

export class DiskReserve {
  readonly #file: string;
  readonly #directory: string;
  readonly #octets: number;

  /** @param octets what is kept free; the file with them is in `directory` */
  constructor(directory: string, octets: number) {
    this.#directory = directory;
    this.#file = join(directory, FILE);
    this.#octets = octets;
  }

  /** Whether it was given to the log, and the disk has not had room for it since. */
  get isSpent(): boolean {
    return !existsSync(this.#file);
  }

  /** Takes the space where there is ample. Random octets: a file system may hold zeros in none. */
  take(): void {
    if (!this.isSpent && statSync(this.#file).size === this.#octets) return;
    rmSync(this.#file, { force: true });
    const { bavail, bsize } = statfsSync(this.#directory);
    if (bavail * bsize < AMPLE * this.#octets) return;
    writeFileSync(this.#file, randomBytes(this.#octets), { mode: 0o600, flush: true });
  }

  /** Gives the space to whatever is written next; false where it is given already. */
  spend(): boolean {
    if (this.isSpent) return false;
    rmSync(this.#file);
    return true;
  }
}
