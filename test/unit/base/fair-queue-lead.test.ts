/** Handing over ahead of time (`leadMs`): hardware has its next operation when it is done with one. */
import { expect, it, vi } from 'vitest';
import { FairQueue, type FairQueueOptions } from '../../../src/base/fair-queue.ts';
import { ask, OPTIONS, outcome, takes } from '../../support/fair-queue.ts';
import { useFakeTime } from '../../support/fake-time.ts';

useFakeTime();

const AHEAD: FairQueueOptions = { ...OPTIONS, leadMs: (serviceMs) => (serviceMs < 5 ? undefined : 10) };

it('begins the next shortly before the present one is expected to be done, and no third', async () => {
  const queue = new FairQueue(AHEAD);
  const begun: number[] = [];
  const work = (): Promise<void> => {
    begun.push(performance.now());
    return takes(100)();
  };
  const start = performance.now();
  for (let index = 0; index < 3; index += 1) void queue.run(ask('uid:1'), work);
  await vi.advanceTimersByTimeAsync(89);
  expect(begun).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(10);
  expect(begun.map((at) => at - start)).toEqual([0, 90]);
  expect(queue.state).toMatchObject({ running: 2, waiting: 1 });
  await vi.advanceTimersByTimeAsync(300);
  expect(begun).toHaveLength(3);
  expect(queue.state).toMatchObject({ running: 0, waiting: 0 });
});

it('expects one that was handed over early to begin when the one before it ends', async () => {
  const queue = new FairQueue(AHEAD);
  const begun: number[] = [];
  let hardware = Promise.resolve();
  // One at a time, as a chip does: the time that one waits for another is not its own.
  const work = (): Promise<void> => {
    begun.push(performance.now());
    hardware = hardware.then(takes(100));
    return hardware;
  };
  const start = performance.now();
  for (let index = 0; index < 8; index += 1) void queue.run(ask('uid:1'), work);
  await vi.advanceTimersByTimeAsync(800);
  expect(begun.map((at) => at - start)).toEqual([0, 90, 190, 290, 390, 490, 590, 690]);
  expect(queue.state).toEqual({ waiting: 0, running: 0, serviceMs: 100 });
});

it('counts for each of several that hardware has the time that it took, not what it waited there', async () => {
  const queue = new FairQueue({
    ...AHEAD,
    concurrency: 4,
    expectedServiceMs: 3,
    maxWaitingPerShare: 100,
    maxWaiting: 100,
  });
  let hardware = Promise.resolve();
  const work = (): Promise<void> => (hardware = hardware.then(takes(3)));
  for (let index = 0; index < 60; index += 1) void queue.run(ask('uid:1'), work);
  expect(queue.state).toMatchObject({ running: 4, waiting: 56 });
  const hopeless = await outcome(queue.run(ask('uid:1', { timeoutMs: 100 }), work));
  // 60 before it of 3 ms, one after the other: 80 ms more than it would wait for.
  expect(hopeless).toMatchObject({ code: 'too_many_requests', retryAfterSeconds: 1 });
  await vi.advanceTimersByTimeAsync(180);
  expect(queue.state).toEqual({ waiting: 0, running: 0, serviceMs: 3 });
});

it('hands over one that comes when the present one is overdue at once, and only one', async () => {
  const queue = new FairQueue(AHEAD);
  void queue.run(ask('uid:1'), takes(1000));
  await vi.advanceTimersByTimeAsync(200);
  void queue.run(ask('uid:2'), takes(10));
  void queue.run(ask('uid:3'), takes(10));
  expect(queue.state).toMatchObject({ running: 2, waiting: 1 });
});

it('tells what was handed over that its caller has gone', async () => {
  const queue = new FairQueue(AHEAD);
  void queue.run(ask('uid:1'), takes(1000));
  await vi.advanceTimersByTimeAsync(200);
  const leaving = new AbortController();
  const asked = queue.run(
    ask('uid:2', { signal: leaving.signal }),
    (signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason as Error);
        });
      }),
  );
  const refused = outcome(asked);
  leaving.abort();
  expect((await refused)?.code).toBe('caller_gone');
  await vi.advanceTimersByTimeAsync(1);
  // It was not served, and says nothing of how long one takes.
  expect(queue.state).toMatchObject({ running: 1, serviceMs: 100 });
});

it('does not where the average says that it is quick', async () => {
  const queue = new FairQueue({ ...AHEAD, expectedServiceMs: 4 });
  void queue.run(ask('uid:1'), takes(1000));
  await vi.advanceTimersByTimeAsync(200);
  void queue.run(ask('uid:2'), takes(10));
  expect(queue.state).toMatchObject({ running: 1, waiting: 1 });
});
