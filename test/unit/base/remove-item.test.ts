import { expect, it } from 'vitest';
import { removeItem } from '../../../src/base/remove-item.ts';

it('takes one item out, the first of several, and leaves the others in order', () => {
  const list = ['a', 'b', 'c', 'b'];
  expect([removeItem(list, 'b'), list]).toEqual([true, ['a', 'c', 'b']]);
  expect([removeItem(list, 'b'), list]).toEqual([true, ['a', 'c']]);
});

it('leaves a list without it as it is', () => {
  const list = ['a', 'b'];
  expect([removeItem(list, 'x'), list]).toEqual([false, ['a', 'b']]);
});
