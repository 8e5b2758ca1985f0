/**
 * The segment that a journal appends to. Zeros are written ahead of its records: a record then changes nothing but its
 * own octets, where one that lengthens the file has the file system commit the new length and its blocks too, which
 * takes half as long again (docs/decisions/0049).
 */
import { closeSync, ftruncateSync } from 'node:fs';
import { join } from 'node:path';
import { openSegment, openToLengthen, syncFile, writeDurably } from './journal-files.ts';

/** Written ahead at once: as much again as there is, and no more than some 200 entries, a write of a millisecond. */
const MIN_ROOM_OCTETS = 16 * 1024;
const ZEROS = Buffer.alloc(256 * 1024);

export interface SegmentPlace {
  readonly directory: string;
  readonly file: string;
  /** Records may be behind them, zeros are not. */
  readonly maxOctets: number;
}

export class SegmentWriter {
  readonly #fd: number;
  readonly #path: string;
  readonly #maxOctets: number;
  /** Octets of the records. */
  #size: number;
  /** Octets of the file, all behind the records zeros. */
  #length: number;
  #lengthening: Promise<void> | undefined;

  private constructor(fd: number, { directory, file, maxOctets }: SegmentPlace, size: number) {
    this.#fd = fd;
    this.#path = join(directory, file);
    this.#maxOctets = maxOctets;
    this.#size = size;
    this.#length = size;
  }

  /** Opens or makes the file, which has `size` octets, all of records. */
  static async open(place: SegmentPlace, size: number): Promise<SegmentWriter> {
    return new SegmentWriter(await openSegment(place.directory, place.file), place, size);
  }

  get size(): number {
    return this.#size;
  }

  get isFull(): boolean {
    return this.#size >= this.#maxOctets;
  }

  /**
   * Resolves when the octets are durable; after a failure the same may be written again. One at a time.
   * @throws Error of write(2)
   */
  async write(octets: Uint8Array): Promise<void> {
    // Never beside zeros that are being written to the same place.
    if (this.#size + octets.length > this.#length) await this.#lengthening;
    await writeAll(this.#fd, octets, this.#size);
    this.#size += octets.length;
    this.#length = Math.max(this.#length, this.#size);
    const room = Math.min(
      Math.max(this.#size, MIN_ROOM_OCTETS),
      ZEROS.length,
      this.#maxOctets - this.#length,
    );
    if (this.#length - this.#size < room / 2) this.#lengthening ??= this.#lengthen(room);
  }

  /** Leaves nothing behind the records, and closes. Nothing may be under way but zeros. */
  async finish(): Promise<void> {
    await this.#lengthening;
    try {
      ftruncateSync(this.#fd, this.#size);
      await syncFile(this.#fd);
    } finally {
      closeSync(this.#fd);
    }
  }

  /** Closes and leaves all as it is. */
  async abandon(): Promise<void> {
    await this.#lengthening;
    closeSync(this.#fd);
  }

  // The kernel tells of a failed write-back once per descriptor: what befell a record must not be told to zeros.
  async #lengthen(octets: number): Promise<void> {
    const from = this.#length;
    try {
      const fd = await openToLengthen(this.#path);
      try {
        await writeAll(fd, ZEROS.subarray(0, octets), from);
      } finally {
        closeSync(fd);
      }
      this.#length = from + octets;
    } catch {
      // Records do without: their own write meets the full disk next, and tells.
    } finally {
      this.#lengthening = undefined;
    }
  }
}

async function writeAll(fd: number, octets: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < octets.length) {
    written += await writeDurably(fd, octets.subarray(written), position + written);
  }
}
