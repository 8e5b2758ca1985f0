/**
 * An append-only file of records with group commit: records that arrive while one write is being synced go into
 * the next, which begins when that ends. So one writer waits for one sync, and many share it.
 *
 * A record on disk is `length (u32) ‖ CRC-32 (u32) ‖ octets`, big-endian, the CRC over length and octets. Files
 * are segments `<name>-<index of the first record, 16 digits>.log`, the newest with zeros behind its records. What a
 * crash tore off the end of the newest is cut at the next start; damage anywhere else is an error.
 */
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asKeydError, KeydError, type ErrorCode } from '../wire/problem.ts';
import { cutFile, listSegments, segmentName, syncDirectory } from './journal-files.ts';
import { frameRecord, readSegment } from './journal-segment.ts';
import { SegmentWriter, type SegmentPlace } from './segment-writer.ts';

export interface JournalOptions {
  /** Made if it is missing, mode 0700. */
  readonly directory: string;
  /** First part of the files' names, `[a-z]+`. */
  readonly name: string;
  /** Octets after which a new segment is begun. */
  readonly maxSegmentOctets?: number;
  /** What appending is refused with once the journal could not be written. */
  readonly failure: ErrorCode;
  /** Index of the first record wanted; segments wholly before it are not read. */
  readonly from?: number;
  /** Every record from `from` on, in order, before this resolves. What it throws is thrown on. */
  readonly onRecord: (record: Uint8Array, index: number) => void;
  /** How many octets of an unfinished record a crash had left; they are cut. */
  readonly onTornTail?: (octets: number) => void;
  /** Called when the disk is full; true where it made room, and the write is tried once more. */
  readonly onFull?: () => boolean;
  /** Called between durable steps, so that a test can fail, copy or kill there; `synced` has the size of the segment. */
  readonly fault?: (step: JournalStep, size: number) => void;
}

export type JournalStep = 'write' | 'synced' | 'segment' | 'removed';

export interface Appended {
  readonly index: number;
  /** Resolves when no crash can undo it. @throws KeydError `failure` of the options */
  readonly durable: Promise<void>;
}

export interface Journal {
  /** Records there are, counting those that are not durable yet. */
  readonly length: number;
  /** Never throws: what goes wrong, `durable` says. */
  append(record: Uint8Array): Appended;
  /** As `append`, for what nobody waits for: it goes with the next write, and one begins within milliseconds. */
  appendLater(record: Uint8Array): Appended;
  /** The next record begins a segment. */
  startSegment(): void;
  /**
   * Removes the segments that hold only records before `index`, the oldest first, so that a crash leaves no gap.
   * @throws KeydError `failure` of the options; what is left is removed another time
   */
  removeBefore(index: number): Promise<void>;
  /** Resolves when everything appended so far is durable. @throws KeydError `failure` of the options */
  flush(): Promise<void>;
  /** Flushes and closes; nothing may be appended any more. */
  close(): Promise<void>;
}

const FULL: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT']);
/** Long enough for the next record that somebody waits for, where there is any load. */
const LATER_MS = 5;
const DEFAULT_SEGMENT_OCTETS = 64 * 1024 * 1024;
/** Ample for every entry there is; a length beyond it is damage. */
export const MAX_RECORD_OCTETS = 1024 * 1024;

/** @throws KeydError `failure` of the options, for damage that no crash leaves behind and what can not be opened */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const segments = listSegments(options.directory, options.name);
  const from = options.from ?? 0;
  let length = segments[0]?.first ?? 0;
  let size = 0;
  for (const [position, { file, first }] of segments.entries()) {
    const next = segments[position + 1];
    if (next !== undefined && next.first <= from) {
      length = next.first;
      continue;
    }
    if (first !== length) damaged(options, `${file} begins at record ${first}, expected ${length}`);
    const path = join(options.directory, file);
    const read = readSegment(path, (record, at) => {
      if (first + at >= from) options.onRecord(record, first + at);
      return true;
    });
    if (read.tail > 0) {
      if (next !== undefined || read.isDamaged) damaged(options, `${file} is damaged at octet ${read.size}`);
      options.onTornTail?.(read.tail);
    }
    if (next === undefined && read.length > read.size) await cutFile(path, read.size);
    length += read.records;
    size = read.size;
  }
  const last = segments.at(-1);
  const file = last === undefined ? segmentName(options.name, length) : last.file;
  const segment = await SegmentWriter.open(placeOf(options, file), last === undefined ? 0 : size);
  return new SegmentedJournal(options, segment, length);
}

function placeOf({ directory, maxSegmentOctets }: JournalOptions, file: string): SegmentPlace {
  return { directory, file, maxOctets: maxSegmentOctets ?? DEFAULT_SEGMENT_OCTETS };
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: KeydError) => void;
}

class SegmentedJournal implements Journal {
  readonly #options: JournalOptions;
  #segment: SegmentWriter;
  #length: number;
  #pending: Uint8Array[] = [];
  #waiting: Waiter[] = [];
  /** Of the batch that is being collected: its members share it. */
  #collected: Promise<void> | undefined;
  /** Records that begin a segment, ascending. */
  #cuts: number[] = [];
  #broken: KeydError | undefined;
  #writing: Promise<void> | undefined;
  /** Whether what is pending is to be written as soon as nothing else is being. */
  #isWanted = false;
  /** Set while a write is due for what nobody waits for. */
  #due: NodeJS.Timeout | undefined;

  constructor(options: JournalOptions, segment: SegmentWriter, length: number) {
    this.#options = options;
    this.#segment = segment;
    this.#length = length;
  }

  get length(): number {
    return this.#length;
  }

  append(record: Uint8Array): Appended {
    const appended = this.#append(record);
    this.#writePending();
    return appended;
  }

  appendLater(record: Uint8Array): Appended {
    const appended = this.#append(record);
    this.#due ??= setTimeout(() => {
      this.#due = undefined;
      this.#writePending();
    }, LATER_MS);
    return appended;
  }

  #append(record: Uint8Array): Appended {
    const index = this.#length;
    if (this.#broken !== undefined) return { index, durable: rejected(this.#broken) };
    if (record.length === 0 || record.length > MAX_RECORD_OCTETS) {
      const error = new KeydError('internal', `a record of ${record.length} octets can not be kept`);
      return { index, durable: rejected(error) };
    }
    this.#length += 1;
    this.#pending.push(frameRecord(record));
    return { index, durable: this.#nextBatch() };
  }

  startSegment(): void {
    this.#cuts.push(this.#length);
  }

  async removeBefore(index: number): Promise<void> {
    const { directory, failure, fault, name } = this.#options;
    const segments = listSegments(directory, name);
    try {
      for (const [position, { file }] of segments.entries()) {
        const next = segments[position + 1];
        if (next === undefined || next.first > index) break;
        // Another removal may have been here.
        await rm(join(directory, file), { force: true });
        fault?.('removed', this.#segment.size);
      }
      await syncDirectory(directory);
    } catch (thrown) {
      const { message } = asKeydError(thrown);
      throw new KeydError(failure, `old records of ${directory} can not be removed: ${message}`, {
        cause: thrown,
      });
    }
  }

  async flush(): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    this.#writePending();
    if (this.#pending.length > 0) await this.#nextBatch();
    else await this.#writing;
    // Read anew: the write that was waited for may have failed.
    const broken = this.#broken as KeydError | undefined;
    if (broken !== undefined) throw broken;
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      clearTimeout(this.#due);
      // After a failed write nobody knows what is behind the last record: the next start looks.
      const isWhole = this.#broken === undefined;
      this.#broken ??= new KeydError('shutting_down', 'the journal is closed');
      await (isWhole ? this.#segment.finish() : this.#segment.abandon());
    }
  }

  /** The promise that all records of the next batch share. */
  #nextBatch(): Promise<void> {
    if (this.#collected === undefined) {
      const { promise, resolve, reject } = Promise.withResolvers<undefined>();
      // Whoever waits is told; nobody has to.
      promise.catch(() => undefined);
      this.#waiting = [
        {
          resolve: () => {
            resolve(undefined);
          },
          reject,
        },
      ];
      this.#collected = promise;
    }
    return this.#collected;
  }

  #writePending(): void {
    this.#isWanted = this.#pending.length > 0;
    if (this.#isWanted) this.#writing ??= this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    // What else the promises of this moment append goes into the same write: it costs as much as they do together.
    await new Promise<void>((resolve) => {
      process.nextTick(resolve);
    });
    while (this.#isWanted) {
      this.#isWanted = false;
      const records = this.#pending;
      const waiting = this.#waiting;
      const first = this.#length - records.length;
      this.#pending = [];
      this.#waiting = [];
      this.#collected = undefined;
      try {
        await this.#commitAll(records, first);
        for (const { resolve } of waiting) resolve();
      } catch (thrown) {
        this.#break(thrown, waiting);
      }
    }
    // In the same turn as the last look at what is wanted, or a record could be left to nobody.
    this.#writing = undefined;
  }

  async #commitAll(records: readonly Uint8Array[], first: number): Promise<void> {
    let from = 0;
    for (let cut = this.#cuts[0]; cut !== undefined && cut < first + records.length; cut = this.#cuts[0]) {
      this.#cuts.shift();
      if (cut > first + from) await this.#commit(records.slice(from, cut - first), first + from);
      from = cut - first;
      await this.#nextSegment(cut);
    }
    await this.#commit(records.slice(from), first + from);
  }

  async #commit(records: readonly Uint8Array[], first: number): Promise<void> {
    if (this.#segment.isFull) await this.#nextSegment(first);
    const octets = records.length === 1 && records[0] !== undefined ? records[0] : Buffer.concat(records);
    this.#options.fault?.('write', this.#segment.size);
    await this.#withRoom(() => this.#segment.write(octets));
    this.#options.fault?.('synced', this.#segment.size);
  }

  async #nextSegment(first: number): Promise<void> {
    const finished = this.#segment;
    const place = placeOf(this.#options, segmentName(this.#options.name, first));
    this.#segment = await this.#withRoom(() => SegmentWriter.open(place, 0));
    await finished.finish();
    this.#options.fault?.('segment', 0);
  }

  /** A full disk takes nothing of a write that it refuses: once there is room, it is tried again. */
  async #withRoom<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      const isFull = thrown instanceof Error && 'code' in thrown && FULL.has(thrown.code);
      if (!isFull || this.#options.onFull?.() !== true) throw thrown;
      return work();
    }
  }

  /** After a failed write nobody knows what is on disk: nothing more is promised until the next start. */
  #break(thrown: unknown, waiting: readonly Waiter[]): void {
    const cause = asKeydError(thrown);
    const { directory, failure } = this.#options;
    const error = new KeydError(
      failure,
      `${directory} can not be written (${cause.message}); mend the disk and start again`,
      { cause: thrown },
    );
    this.#broken = error;
    this.#isWanted = false;
    for (const { reject } of [...waiting, ...this.#waiting]) reject(error);
    this.#pending = [];
    this.#waiting = [];
    this.#collected = undefined;
  }
}

function damaged({ failure, directory }: JournalOptions, what: string): never {
  throw new KeydError(failure, `${directory}: ${what}; this is no trace of a crash`);
}

function rejected(error: KeydError): Promise<never> {
  const promise = Promise.reject(error);
  promise.catch(() => undefined);
  return promise;
}
