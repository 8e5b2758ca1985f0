/**
 * The Merkle tree of a log that may hold millions of entries: in memory is one root for every block of entries
 * and the leaves of the last, unfinished one; leaves of a finished block are read again when a proof wants them.
 */
import { MerkleFrontier, nodeHash, splitPoint, type Hash } from '../wire/merkle.ts';

const BLOCK_LEVEL = 10;
const BLOCK = 2 ** BLOCK_LEVEL;

/** Leaf hashes of entries `from` to `to`, exclusive. */
export type ReadLeaves = (from: number, to: number) => readonly Hash[];

export class LogTree {
  readonly #frontier = new MerkleFrontier();
  readonly #blocks: Hash[] = [];
  #last: Hash | undefined;

  /** Hash of the newest leaf. */
  get last(): Hash | undefined {
    return this.#last;
  }

  get size(): number {
    return this.#frontier.size;
  }

  append(leaf: Hash): void {
    this.#last = leaf;
    this.#frontier.append(leaf, (level, root) => {
      if (level === BLOCK_LEVEL) this.#blocks.push(root);
    });
  }

  root(): Hash {
    return this.#frontier.root();
  }

  /** Hashes of subtrees as proofs ask for them. */
  subtree(readLeaves: ReadLeaves): (from: number, to: number) => Hash {
    const hash = (from: number, to: number): Hash => {
      if (to - from === BLOCK && from % BLOCK === 0) {
        const block = this.#blocks[from / BLOCK];
        if (block !== undefined) return block;
      }
      if (to - from <= BLOCK) return fold(readLeaves(from, to));
      const split = from + splitPoint(to - from);
      return nodeHash(hash(from, split), hash(split, to));
    };
    return hash;
  }
}

function fold(leaves: readonly Hash[]): Hash {
  const frontier = new MerkleFrontier();
  for (const leaf of leaves) frontier.append(leaf);
  return frontier.root();
}
