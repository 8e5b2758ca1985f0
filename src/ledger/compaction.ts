/** When snapshots are made, and how much of the journal before them is kept: one snapshot's worth, for its history. */
import { existsSync } from 'node:fs';
import type { Journal } from '../base/journal.ts';
import { asKeydError, type KeydError } from '../wire/problem.ts';
import type { Book } from './book.ts';
import type { HashChain } from './hash-chain.ts';
import { encodeRecord, LEDGER_JOURNAL } from './records.ts';
import { findSnapshot, snapshotOf } from './snapshot.ts';

export interface CompactionOptions {
  /** Records after which a snapshot takes the place of all before it. */
  readonly compactAfter?: number;
  /** Told where old records could not be removed; nothing else suffers. */
  readonly onProblem?: (error: KeydError) => void;
}

/** The snapshot in force: index of its first record, and of the record after it. */
export interface SnapshotPlace {
  readonly first: number;
  readonly end: number;
  /** First record of the snapshot before it, if that is still there. */
  readonly before: number;
}

/** A second's reading at a start. */
const COMPACT_AFTER = 50_000;

/** @throws KeydError `ledger_unavailable` for a journal with neither its beginning nor a snapshot */
export function findBase(directory: string): SnapshotPlace {
  return existsSync(directory) ? findSnapshot(directory, LEDGER_JOURNAL) : { first: 0, end: 0, before: 0 };
}

export class Compaction {
  readonly #journal: Journal;
  readonly #compactAfter: number;
  readonly #onProblem: (error: KeydError) => void;
  /** First record of the snapshot in force, and of the one before it, from which on history is kept. */
  #base: number;
  #keptFrom: number;
  /** Index of the record that the next snapshot waits for. */
  #at: number;
  /** Settled once what is not kept any more is gone, or could not be removed. */
  #done: Promise<void> = Promise.resolve();

  constructor(options: CompactionOptions, journal: Journal, base: SnapshotPlace) {
    this.#journal = journal;
    this.#compactAfter = options.compactAfter ?? COMPACT_AFTER;
    this.#onProblem = options.onProblem ?? (() => undefined);
    this.#base = base.first;
    this.#keptFrom = base.before;
    this.#at = journal.length + this.#compactAfter;
  }

  /** Begins a segment with all that the records so far come to, where enough of them have come. */
  after(book: Book, chain: HashChain, nowMs: number): void {
    if (this.#journal.length < this.#at) return;
    const first = this.#journal.length;
    this.#journal.startSegment();
    const written = snapshotOf(book, chain.head(), nowMs).map((record) => {
      const octets = encodeRecord(record);
      chain.add(octets);
      return this.#journal.append(octets).durable;
    });
    this.#at = this.#journal.length + this.#compactAfter;
    this.#done = Promise.all(written).then(
      () => {
        // Two may be durable at once, the older one first.
        this.#keptFrom = this.#base;
        this.#base = first;
        return this.removeOld();
      },
      // Whoever waits for a record is told that the journal is broken.
      () => undefined,
    );
  }

  /** What can not be removed is left, and told. */
  async removeOld(): Promise<void> {
    try {
      await this.#journal.removeBefore(this.#keptFrom);
    } catch (thrown) {
      this.#onProblem(asKeydError(thrown));
    }
  }

  /** Resolves when nothing is being removed. */
  done(): Promise<void> {
    return this.#done;
  }
}
