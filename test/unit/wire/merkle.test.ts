/** Merkle hashes and proofs against the vectors of RFC 6962's reference code, and every size up to 70. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  consistencyProof,
  emptyRoot,
  inclusionProof,
  leafHash,
  MerkleFrontier,
  verifyConsistency,
  verifyInclusion,
  type Hash,
} from '../../../src/wire/merkle.ts';

const hex = (hash: Hash): string => Buffer.from(hash).toString('hex');

/** Inputs and roots of sizes 1 to 8, from merkle_tree_test.cc of google/certificate-transparency. */
const INPUTS = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((text) => Buffer.from(text, 'hex'));
const ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];
const A = '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7';
const B = '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e';
const C = '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4';
const D = 'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b';
const E = 'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0';
const F = 'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7';
const G = '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a';

/** MTH as RFC 9162 §2.1.1 writes it, with nothing of the code under test. */
function mth(leaves: readonly Hash[]): Hash {
  const [first] = leaves;
  if (first === undefined) return createHash('sha256').digest();
  if (leaves.length === 1) return first;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return createHash('sha256')
    .update(Buffer.concat([Uint8Array.of(1), mth(leaves.slice(0, k)), mth(leaves.slice(k))]))
    .digest();
}

function treeOf(leaves: readonly Hash[]) {
  const known = new Map<string, Hash>();
  return (from: number, to: number): Hash => {
    const key = `${from}-${to}`;
    const hash = known.get(key) ?? mth(leaves.slice(from, to));
    known.set(key, hash);
    return hash;
  };
}

const MOST = 70;
const LEAVES = Array.from({ length: MOST }, (_, i) => leafHash(Buffer.from(`entry ${i}`)));
const TREE = treeOf(LEAVES);
const rootOf = (size: number): Hash => TREE(0, size);
const at = (index: number): Hash => LEAVES[index] ?? new Uint8Array(32);
const flipped = (hash: Hash, bit = 0): Hash => {
  const other = Uint8Array.from(hash);
  other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return other;
};

describe('the vectors of RFC 6962', () => {
  const tree = treeOf(INPUTS.map(leafHash));

  it('roots', () => {
    expect(hex(emptyRoot())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    const frontier = new MerkleFrontier();
    expect(hex(frontier.root())).toBe(hex(emptyRoot()));
    INPUTS.forEach((input, i) => {
      frontier.append(leafHash(input));
      expect(hex(frontier.root())).toBe(ROOTS[i]);
    });
  });

  it.each([
    [0, 1, []],
    [0, 8, [A, B, C]],
    [5, 8, [D, E, F]],
    [2, 3, [ROOTS[1]]],
    [1, 5, [ROOTS[0], B, D]],
  ])('inclusion of entry %i in %i', (index, size, path) => {
    expect(inclusionProof(index, size, tree).map(hex)).toEqual(path);
  });

  it.each([
    [1, 1, []],
    [1, 8, [A, B, C]],
    [6, 8, [G, E, F]],
    [2, 5, [B, D]],
  ])('consistency of %i with %i', (first, second, path) => {
    expect(consistencyProof(first, second, tree).map(hex)).toEqual(path);
  });
});

describe('every size up to 70', () => {
  it('the frontier has the root of the definition, and tells every whole subtree', () => {
    const frontier = new MerkleFrontier();
    for (let size = 1; size <= MOST; size += 1) {
      frontier.append(at(size - 1), (level, root) => {
        expect(hex(root)).toBe(hex(TREE(size - 2 ** level, size)));
      });
      expect(hex(frontier.root()), `${size}`).toBe(hex(rootOf(size)));
    }
  });

  it('every entry is proven, and by no other entry, place, size, root or path', () => {
    let proofs = 0;
    for (let size = 1; size <= MOST; size += 1) {
      const root = rootOf(size);
      for (let index = 0; index < size; index += 1) {
        const proof = inclusionProof(index, size, TREE);
        expect(verifyInclusion(at(index), index, size, proof, root)).toBe(true);
        const altered: readonly boolean[] = [
          verifyInclusion(flipped(at(index), index), index, size, proof, root),
          verifyInclusion(at(index), index, size, proof, flipped(root, index)),
          verifyInclusion(at(index), size, size, proof, root),
          verifyInclusion(at(index), -1, size, proof, root),
          verifyInclusion(at(index), index, size, [...proof, root], root),
          verifyInclusion(at(index), index, size, [root, ...proof], root),
          ...proof.map((hash, i) =>
            verifyInclusion(at(index), index, size, proof.with(i, flipped(hash)), root),
          ),
          ...proof.map((_, i) => verifyInclusion(at(index), index, size, proof.toSpliced(i, 1), root)),
        ];
        expect(altered.includes(true), `${index} of ${size}`).toBe(false);
        const places = Array.from({ length: size }, (_, other) =>
          verifyInclusion(at(index), other, size, proof, root),
        );
        expect(places.filter(Boolean).length).toBe(1);
        proofs += 1;
      }
    }
    expect(proofs).toBe((MOST * (MOST + 1)) / 2);
  });

  it('every prefix is proven, and by no other size, root or path', () => {
    for (let second = 0; second <= MOST; second += 1) {
      for (let first = 0; first <= second; first += 1) {
        const [from, to] = [rootOf(first), rootOf(second)];
        const proof = consistencyProof(first, second, TREE);
        expect(verifyConsistency(first, second, proof, from, to), `${first}, ${second}`).toBe(true);
        const altered: readonly boolean[] = [
          verifyConsistency(first, second, proof, flipped(from, first), to),
          // Any tree goes on from the empty one: its root says nothing of the second.
          first === 0 && second > 0
            ? false
            : verifyConsistency(first, second, proof, from, flipped(to, second)),
          verifyConsistency(first, second, [...proof, to], from, to),
          verifyConsistency(first, second, [to, ...proof], from, to),
          verifyConsistency(second + 1, second, proof, from, to),
          verifyConsistency(-1, second, proof, from, to),
          ...proof.map((hash, i) => verifyConsistency(first, second, proof.with(i, flipped(hash)), from, to)),
          ...proof.map((_, i) => verifyConsistency(first, second, proof.toSpliced(i, 1), from, to)),
        ];
        expect(altered.includes(true), `${first}, ${second}`).toBe(false);
      }
    }
  });

  it('a tree that is no continuation has no proof', () => {
    const other = treeOf(LEAVES.with(10, leafHash(Buffer.from('another'))));
    for (let second = 12; second <= MOST; second += 1) {
      for (let first = 11; first < second; first += 1) {
        const proof = consistencyProof(first, second, other);
        expect(verifyConsistency(first, second, proof, rootOf(first), other(0, second))).toBe(false);
      }
    }
  });
});

it('sizes beyond 32 bits do not fold into others', () => {
  const big = 2 ** 33;
  expect(verifyInclusion(at(0), big, big + 1, [rootOf(1)], at(1))).toBe(false);
  expect(verifyInclusion(at(0), 0, 2 ** 32 + 1, [], at(0))).toBe(false);
  expect(verifyConsistency(1, 2 ** 32 + 1, [], at(0), at(0))).toBe(false);
});
