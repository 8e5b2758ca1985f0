/** SHA-256 of running executables, each file hashed once. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';

/** Larger executables are not hashed: their hash is unknown. */
const MAX_EXECUTABLE_OCTETS = 1024n * 1024n * 1024n;
const MAX_REMEMBERED = 256;
const READ_OCTETS = 128 * 1024;

/** Which file it is, and in what state. */
export type FileIdentity = Pick<BigIntStats, 'dev' | 'ino' | 'size' | 'mtimeNs' | 'ctimeNs'>;

/** A file as text that changes with its content: device, inode, size, modification and change time. */
export function identityText({ dev, ino, size, mtimeNs, ctimeNs }: FileIdentity): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}

export class ExecutableHashes {
  readonly #hashes = new Map<string, Promise<string | undefined>>();

  /**
   * Lower-case hex SHA-256 of the file that `link` leads to, provided it still is the file `expected`.
   * Undefined where it can not be read, is too large or has changed.
   */
  async hash(link: string, expected: string): Promise<string | undefined> {
    const remembered = this.#hashes.get(expected);
    if (remembered !== undefined) return remembered;
    const hashing = hashFile(link, expected).catch(() => undefined);
    this.#hashes.set(expected, hashing);
    const [oldest] = this.#hashes.keys();
    if (this.#hashes.size > MAX_REMEMBERED && oldest !== undefined) this.#hashes.delete(oldest);
    const result = await hashing;
    // A process that was not readable once may be later; only an answer is remembered.
    if (result === undefined) this.#hashes.delete(expected);
    return result;
  }
}

async function hashFile(link: string, expected: string): Promise<string | undefined> {
  const file = await open(link, 'r');
  try {
    const before = await file.stat({ bigint: true });
    if (identityText(before) !== expected || before.size > MAX_EXECUTABLE_OCTETS) return undefined;
    const hash = createHash('sha256');
    // One buffer: an interpreter of a hundred megabytes would otherwise leave as much behind in this process.
    const buffer = Buffer.allocUnsafeSlow(READ_OCTETS);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
    }
    return identityText(await file.stat({ bigint: true })) === expected ? hash.digest('hex') : undefined;
  } finally {
    await file.close();
  }
}
