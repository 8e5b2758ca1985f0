/** The tree over entries as they come, and its root wherever a checkpoint, then or later, speaks of it. */
import { MerkleFrontier, type Hash } from '../wire/merkle.ts';

/** A checkpoint is an entry soon after the last that it is over; one that comes later can not be looked up. */
const MAX_LAG = 65_536;

export class AuditHeads {
  /** Behind the entries by what waits. */
  readonly #frontier = new MerkleFrontier();
  readonly #wanted = new Map<number, Hash | undefined>();
  readonly #watched = new Map<number, (root: Hash) => void>();
  #waiting: Hash[] = [];

  /** @param sizes whose roots will be asked for at the end */
  constructor(sizes: Iterable<number>) {
    for (const size of sizes) this.#wanted.set(size, size === 0 ? this.#frontier.root() : undefined);
  }

  get size(): number {
    return this.#frontier.size + this.#waiting.length;
  }

  add(leaf: Hash): void {
    this.#waiting.push(leaf);
    if (this.#waiting.length > 2 * MAX_LAG) this.#advance(this.size - MAX_LAG);
  }

  /** Root of the first `size`; undefined where that is passed, or not yet reached. Sizes are asked for in ascending order. */
  rootAt(size: number): Hash | undefined {
    if (size > this.size || size < this.#frontier.size) return this.#wanted.get(size);
    this.#advance(size);
    return this.#frontier.root();
  }

  /** Tells the root of the first `size` once it is computed, in no order; never where that is passed already. */
  whenAt(size: number, take: (root: Hash) => void): void {
    if (size === this.#frontier.size) take(this.#frontier.root());
    else if (size > this.#frontier.size) this.#watched.set(size, take);
  }

  #advance(size: number): void {
    const count = size - this.#frontier.size;
    for (let i = 0; i < count; i += 1) {
      this.#frontier.append(this.#waiting[i] as Hash);
      if (this.#wanted.has(this.#frontier.size)) this.#wanted.set(this.#frontier.size, this.#frontier.root());
      if (this.#watched.size > 0) this.#tellWatched();
    }
    this.#waiting = this.#waiting.slice(count);
  }

  #tellWatched(): void {
    const { size } = this.#frontier;
    this.#watched.get(size)?.(this.#frontier.root());
    this.#watched.delete(size);
  }
}
