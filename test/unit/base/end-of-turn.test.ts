import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { endOfTurn } from '../../../src/base/end-of-turn.ts';

/** Notes every step of a piece of work that takes three. */
async function work(name: string, steps: string[]): Promise<void> {
  await endOfTurn();
  for (const step of [1, 2, 3]) {
    steps.push(`${name}${step}`);
    await Promise.resolve();
  }
}

it('has what was begun in one turn go step by step together, although each was begun by a callback of its own', async () => {
  const steps: string[] = [];
  const all: Promise<void>[] = [];
  await new Promise<void>((resolve) => {
    // Callbacks of one phase of the event loop, with promises settled after each of them. Timers would not do: the
    // clock may go on between two of them, and then they run in different turns.
    for (const name of ['a', 'b', 'c']) setImmediate(() => all.push(work(name, steps)));
    setImmediate(resolve);
  });
  await Promise.all(all);
  expect(steps).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'c2', 'a3', 'b3', 'c3']);
});

it('begins what comes in a later turn in that turn', async () => {
  const steps: string[] = [];
  const first = work('a', steps);
  await nextTurn();
  await nextTurn();
  expect(steps).toEqual(['a1', 'a2', 'a3']);
  const second = work('b', steps);
  expect(steps).toHaveLength(3);
  await Promise.all([first, second]);
  expect(steps.slice(3)).toEqual(['b1', 'b2', 'b3']);
});
