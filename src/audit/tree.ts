/**
 * The Merkle tree of a log that may hold millions of entries: in memory is one root for every block of entries;
 * leaves are read again when a proof wants them, and held against the root of their block.
 */
import { MerkleFrontier, nodeHash, splitPoint, type Hash } from '../wire/merkle.ts';
import { KeydError } from '../wire/problem.ts';

const BLOCK_LEVEL = 10;
/** Entries of a block. */
export const BLOCK = 2 ** BLOCK_LEVEL;

/** Leaf hashes of entries `from` to `to`, exclusive. */
export type ReadLeaves = (from: number, to: number) => readonly Hash[];

export class LogTree {
  readonly #frontier = new MerkleFrontier();
  readonly #blocks: Hash[] = [];
  #last: Hash | undefined;

  /** @param blocks roots of the log's first blocks; what stands behind them is appended */
  constructor(blocks: readonly Hash[] = []) {
    for (const root of blocks) {
      this.#blocks.push(root);
      this.#frontier.appendSubtree(BLOCK_LEVEL, root);
    }
  }

  /** Hash of the newest leaf that was appended. */
  get last(): Hash | undefined {
    return this.#last;
  }

  get size(): number {
    return this.#frontier.size;
  }

  /** Roots of all whole blocks. */
  get blocks(): readonly Hash[] {
    return this.#blocks;
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

  /**
   * Hashes of subtrees as one proof asks for them; the leaves of a block are read once.
   * @throws KeydError `audit_unavailable`, when called, where a block on disk is not the one that was written
   */
  subtree(readLeaves: ReadLeaves): (from: number, to: number) => Hash {
    const read = new Map<number, readonly Hash[]>();
    const leavesOf = (block: number): readonly Hash[] => {
      const known = read.get(block);
      if (known !== undefined) return known;
      const leaves = readLeaves(block * BLOCK, Math.min((block + 1) * BLOCK, this.size));
      const root = this.#blocks[block];
      if (root !== undefined && Buffer.compare(fold(leaves), root) !== 0) {
        const [from, to] = [block * BLOCK, (block + 1) * BLOCK - 1];
        throw new KeydError(
          'audit_unavailable',
          `entries ${from} to ${to} on disk are not those that were written; see agentkey audit verify`,
        );
      }
      read.set(block, leaves);
      return leaves;
    };
    const hash = (from: number, to: number): Hash => {
      const block = Math.floor(from / BLOCK);
      if (to - from === BLOCK && from % BLOCK === 0) {
        const root = this.#blocks[block];
        if (root !== undefined) return root;
      }
      // Subtrees are aligned: one that is no larger than a block lies in one.
      if (to - from <= BLOCK) return fold(leavesOf(block).slice(from - block * BLOCK, to - block * BLOCK));
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
