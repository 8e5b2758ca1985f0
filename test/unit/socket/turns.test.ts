import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Turns } from '../../../src/socket/turns.ts';

/** Asks for `share` and notes when it may begin. */
function ask(turns: Turns, share: string, begun: string[]): void {
  const turn = turns.take(share);
  if (turn === undefined) begun.push(share);
  else void turn.then(() => begun.push(share));
}

test('S20: of a hundred requests that come at once a few begin, and whoever comes next begins before the others', async () => {
  const turns = new Turns();
  const begun: string[] = [];
  for (let index = 0; index < 100; index += 1) ask(turns, 'flood', begun);
  const first = begun.length;
  expect(first).toBeLessThan(10);
  ask(turns, 'other', begun);
  expect(begun.at(-1)).toBe('other');
  await nextTurn();
  ask(turns, 'other', begun);
  expect(begun.length).toBeLessThanOrEqual(2 * first + 2);
  expect(begun.filter((share) => share === 'other')).toHaveLength(2);
});

test('all begin in the end, each share in its order', async () => {
  const turns = new Turns();
  const order: number[] = [];
  const asked = Array.from({ length: 37 }, async (_, index) => {
    await turns.take('uid:1');
    order.push(index);
  });
  await Promise.all(asked);
  expect(order).toEqual(asked.map((_, index) => index));
});
