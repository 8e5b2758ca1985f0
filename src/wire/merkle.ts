/** Merkle tree hashes and proofs (RFC 9162 §2.1), SHA-256. A hash is 32 octets. */
import { hash } from 'node:crypto';

export type Hash = Uint8Array;

/** MTH of one entry: SHA-256(0x00 ‖ entry). Hashed a million times by a verifier, so without a new buffer each. */
export function leafHash(entry: Uint8Array): Hash {
  if (entry.length >= SCRATCH.length) return hash('sha256', Buffer.concat([LEAF, entry]), 'buffer');
  SCRATCH[0] = 0;
  SCRATCH.set(entry, 1);
  return hash('sha256', SCRATCH.subarray(0, 1 + entry.length), 'buffer');
}

/** SHA-256(0x01 ‖ left ‖ right), likewise. */
export function nodeHash(left: Hash, right: Hash): Hash {
  if (left.length !== HASH_OCTETS || right.length !== HASH_OCTETS) {
    return hash('sha256', Buffer.concat([NODE, left, right]), 'buffer');
  }
  PAIR.set(left, 1);
  PAIR.set(right, 1 + HASH_OCTETS);
  return hash('sha256', PAIR, 'buffer');
}

/** Octets of a hash. */
export const HASH_OCTETS = 32;
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
const SCRATCH = Buffer.alloc(4096);
const PAIR = Buffer.alloc(1 + 2 * HASH_OCTETS, 1);

/** MTH of no entry: SHA-256 of nothing. */
export function emptyRoot(): Hash {
  return hash('sha256', Buffer.alloc(0), 'buffer');
}

/** The tree's right edge: all that appending and the root need. */
export class MerkleFrontier {
  /** Roots of complete subtrees, the largest first; `#levels` are their heights. */
  readonly #roots: Hash[] = [];
  readonly #levels: number[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /**
   * @param onComplete told of every complete subtree as it becomes one: its height and root
   */
  append(leaf: Hash, onComplete?: (level: number, root: Hash) => void): void {
    this.appendSubtree(0, leaf, onComplete);
  }

  /** The root of the next 2^`height` entries. The size so far has to be a multiple of that. */
  appendSubtree(height: number, subtree: Hash, onComplete?: (level: number, root: Hash) => void): void {
    let root = subtree;
    let level = height;
    while (this.#levels.at(-1) === level) {
      root = nodeHash(this.#roots.pop() as Hash, root);
      this.#levels.pop();
      level += 1;
      onComplete?.(level, root);
    }
    this.#roots.push(root);
    this.#levels.push(level);
    this.#size += 2 ** height;
  }

  root(): Hash {
    const [last, ...rest] = this.#roots.toReversed();
    if (last === undefined) return emptyRoot();
    return rest.reduce((right, left) => nodeHash(left, right), last);
  }
}

/** The hash of the subtree over entries `from` (inclusive) to `to` (exclusive). */
export type SubtreeHash = (from: number, to: number) => Hash;

/** The largest power of two below `size`, which is at least 2. */
export function splitPoint(size: number): number {
  return 2 ** (Math.ceil(Math.log2(size)) - 1);
}

/** The inclusion proof of entry `index` in the tree of `size` (RFC 9162 §2.1.3.1), from the leaf upwards. */
export function inclusionProof(index: number, size: number, subtree: SubtreeHash): readonly Hash[] {
  const path = (at: number, from: number, to: number): Hash[] => {
    if (to - from <= 1) return [];
    const split = from + splitPoint(to - from);
    return at < split
      ? [...path(at, from, split), subtree(split, to)]
      : [...path(at, split, to), subtree(from, split)];
  };
  return path(index, 0, size);
}

/** The proof that the tree of `first` is a prefix of the tree of `second` (RFC 9162 §2.1.4.1). */
export function consistencyProof(first: number, second: number, subtree: SubtreeHash): readonly Hash[] {
  const sub = (m: number, from: number, to: number, isWhole: boolean): Hash[] => {
    if (m === to - from) return isWhole ? [] : [subtree(from, to)];
    const split = splitPoint(to - from);
    return m <= split
      ? [...sub(m, from, from + split, isWhole), subtree(from + split, to)]
      : [...sub(m - split, from + split, to, false), subtree(from, from + split)];
  };
  return first === 0 || first === second ? [] : sub(first, 0, second, true);
}

/** Whether `leaf` is entry `index` of the tree of `size` with this root (RFC 9162 §2.1.3.2). */
export function verifyInclusion(
  leaf: Hash,
  index: number,
  size: number,
  proof: readonly Hash[],
  root: Hash,
): boolean {
  if (index >= size || index < 0) return false;
  let node = index;
  let last = size - 1;
  let hash = leaf;
  for (const step of proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(step, hash);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      hash = nodeHash(hash, step);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && isEqual(hash, root);
}

/** Whether the tree of `first` with `firstRoot` is a prefix of the tree of `second` (RFC 9162 §2.1.4.2). */
export function verifyConsistency(
  first: number,
  second: number,
  proof: readonly Hash[],
  firstRoot: Hash,
  secondRoot: Hash,
): boolean {
  if (first > second || first < 0) return false;
  if (first === second) return proof.length === 0 && isEqual(firstRoot, secondRoot);
  if (first === 0) return proof.length === 0 && isEqual(firstRoot, emptyRoot());
  const isPower = Number.isInteger(Math.log2(first));
  const [head, ...rest] = isPower ? [firstRoot, ...proof] : proof;
  if (head === undefined) return false;
  let node = first - 1;
  let last = second - 1;
  while (node % 2 === 1) {
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  let fromFirst = head;
  let fromSecond = head;
  for (const step of rest) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      fromFirst = nodeHash(step, fromFirst);
      fromSecond = nodeHash(step, fromSecond);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      fromSecond = nodeHash(fromSecond, step);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && isEqual(fromFirst, firstRoot) && isEqual(fromSecond, secondRoot);
}

function isEqual(left: Hash, right: Hash): boolean {
  return Buffer.compare(left, right) === 0;
}
