import { expect, it } from 'vitest';
import { SpareIndices } from '../../../src/issuance/spare-indices.ts';
import type { StatusReference } from '../../../src/wire/issuance/status.ts';

it('asks for some more than it needs, and gives no index twice, however many ask at once', async () => {
  const asked: number[] = [];
  let next = 0;
  const indices = new SpareIndices({
    allocate: (count) => {
      asked.push(count);
      const given = Array.from({ length: count }, () => ({
        idx: (next += 1),
        uri: 'https://issuer.example/v1/status/1',
      }));
      return Promise.resolve(given);
    },
    revoke: () => Promise.resolve(),
  });
  const given = await Promise.all([1, 50, 7, 1, 1].map((count) => indices.allocate(count)));
  expect(given.map(({ length }) => length)).toEqual([1, 50, 7, 1, 1]);
  const all = given.flat().map(({ idx }: StatusReference) => idx);
  expect(new Set(all).size).toBe(60);
  const before = asked.length;
  await indices.allocate(1);
  expect(asked).toHaveLength(before);
});
