import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { FairQueue } from '../../../src/base/fair-queue.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { ask, OPTIONS, outcome, takes } from '../../support/fair-queue.ts';
import { useFakeTime } from '../../support/fake-time.ts';

useFakeTime();

describe('bounds', () => {
  it('S20: a full share is told so at once, with when to come back', async () => {
    const queue = new FairQueue(OPTIONS);
    for (let index = 0; index < 9; index++) void queue.run(ask('uid:1'), takes(100));
    const refused = await outcome(queue.run(ask('uid:1'), takes(1)));
    expect(refused).toMatchObject({ code: 'too_many_requests', status: 429 });
    // Eight waiting and one running, 100 ms each.
    expect(refused?.retryAfterSeconds).toBe(1);
    const slow = new FairQueue({ ...OPTIONS, expectedServiceMs: 2_000 });
    for (let index = 0; index < 9; index++) void slow.run(ask('uid:1'), takes(2_000));
    expect((await outcome(slow.run(ask('uid:1'), takes(1))))?.retryAfterSeconds).toBe(18);
    await vi.advanceTimersByTimeAsync(60_000);
  });

  it('S20: what would wait past its deadline is told so at once, with when it would not', async () => {
    const queue = new FairQueue({
      ...OPTIONS,
      expectedServiceMs: 1_000,
      maxWaiting: 64,
      maxWaitingPerShare: 64,
    });
    const patient = { timeoutMs: 5_000 };
    const asked = Array.from({ length: 12 }, () => outcome(queue.run(ask('uid:1', patient), takes(1_000))));
    // One runs, and five more have their turn within five seconds.
    const refused = await Promise.all(asked.slice(6));
    expect(refused.map((error) => error?.code)).toEqual(Array.from({ length: 6 }, () => 'too_many_requests'));
    expect(refused[0]?.retryAfterSeconds).toBe(1);
    // Another caller's turn comes sooner, so it is let in; one who can wait longer is too.
    let served = 0;
    for (const request of [ask('uid:2', patient), ask('uid:1', { timeoutMs: 60_000 })]) {
      void queue.run(
        request,
        takes(1_000, () => (served += 1)),
      );
    }
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await Promise.all(asked.slice(0, 3))).toEqual(Array.from({ length: 3 }, () => undefined));
    expect(served).toBe(2);
  });

  it('a share with nothing waiting is let in however slow the last operations were', async () => {
    const queue = new FairQueue({ ...OPTIONS, expectedServiceMs: 60_000 });
    const signature = outcome(queue.run(ask('uid:1', { timeoutMs: 1_000 }), takes(10)));
    await vi.advanceTimersByTimeAsync(10);
    expect(await signature).toBeUndefined();
  });

  it('one operation out of all proportion does not make the estimate of the next ones dishonest', async () => {
    const queue = new FairQueue(OPTIONS);
    void queue.run(ask('uid:1'), takes(100_000));
    await vi.advanceTimersByTimeAsync(100_000);
    expect(queue.state.serviceMs).toBeLessThanOrEqual(130);
    // Hardware that is slow all the time is believed all the same.
    for (let turn = 0; turn < 100; turn += 1) {
      void queue.run(ask('uid:1'), takes(2_000));
      await vi.advanceTimersByTimeAsync(2_000);
    }
    expect(queue.state.serviceMs).toBeGreaterThan(1_900);
  });

  it('who is late is told when its own turn would come, not when everybody’s is over', async () => {
    const queue = new FairQueue({
      ...OPTIONS,
      expectedServiceMs: 2_000,
      maxWaiting: 64,
      maxWaitingPerShare: 64,
    });
    for (let index = 0; index < 30; index++) void queue.run(ask('uid:1'), takes(2_000));
    const late = outcome(queue.run(ask('uid:2', { timeoutMs: 500 }), takes(1)));
    await vi.advanceTimersByTimeAsync(500);
    // What runs, and one turn of the other's.
    expect(await late).toMatchObject({ code: 'deadline_exceeded', retryAfterSeconds: 4 });
    await vi.advanceTimersByTimeAsync(120_000);
  });

  it('S20: a flood does not keep another caller out of a full queue', async () => {
    const queue = new FairQueue({ ...OPTIONS, maxWaitingPerShare: 16 });
    const flood = Array.from({ length: 17 }, () => outcome(queue.run(ask('uid:1'), takes(100))));
    expect(queue.state.waiting).toBe(16);
    let served = false;
    void queue.run(
      ask('uid:2'),
      takes(100, () => (served = true)),
    );
    expect(queue.state.waiting).toBe(16);
    await vi.advanceTimersByTimeAsync(250);
    expect(served).toBe(true);
    await vi.advanceTimersByTimeAsync(5_000);
    // The flood's newest gave way, nothing else of it.
    const refused = (await Promise.all(flood)).map((error) => error?.code);
    expect(refused.indexOf('too_many_requests')).toBe(16);
    expect(refused.filter((code) => code !== undefined)).toHaveLength(1);
  });

  it('where all have equally many waiting, the one who comes last is refused', async () => {
    const queue = new FairQueue({ ...OPTIONS, maxWaiting: 4, maxWaitingPerShare: 4 });
    void queue.run(ask('uid:0'), takes(100));
    for (const uid of [1, 2, 3, 4]) void queue.run(ask(`uid:${uid}`), takes(100));
    expect(await codeOfAsync(() => queue.run(ask('uid:5'), takes(1)))).toBe('too_many_requests');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(queue.state.waiting).toBe(0);
  });

  it('S20: a place is kept for renewal, and no more than the reserved ones', async () => {
    const queue = new FairQueue({ ...OPTIONS, maxWaiting: 4, maxWaitingPerShare: 4 });
    void queue.run(ask('uid:0'), takes(100));
    for (const uid of [1, 2, 3, 4]) void queue.run(ask(`uid:${uid}`), takes(100));
    const renewals = [1, 2].map(() => outcome(queue.run(ask('internal', { internal: true }), takes(100))));
    expect(queue.state.waiting).toBe(6);
    expect(await codeOfAsync(() => queue.run(ask('internal', { internal: true }), takes(1)))).toBe(
      'too_many_requests',
    );
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await Promise.all(renewals)).toEqual([undefined, undefined]);
  });

  it('never holds more than its bounds, for random arrivals', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ share: fc.integer({ min: 0, max: 5 }), internal: fc.boolean() }), {
          maxLength: 60,
        }),
        async (arrivals) => {
          const queue = new FairQueue({ ...OPTIONS, maxWaiting: 6, maxWaitingPerShare: 3 });
          const results = arrivals.map(({ share, internal }) => {
            const result = outcome(queue.run(ask(`uid:${share}`, { internal }), takes(10)));
            expect(queue.state.waiting).toBeLessThanOrEqual(6 + OPTIONS.reservedWaiting);
            return result;
          });
          await vi.advanceTimersByTimeAsync(2_000);
          // Every one was answered: served, or refused with a time.
          for (const error of await Promise.all(results)) {
            if (error !== undefined) expect(error.retryAfterSeconds).toBeGreaterThanOrEqual(1);
          }
          expect(queue.state).toMatchObject({ waiting: 0, running: 0 });
        },
      ),
      { numRuns: 60 },
    );
  });
});
