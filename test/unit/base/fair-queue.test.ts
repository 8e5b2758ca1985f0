import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FairQueue } from '../../../src/base/fair-queue.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { ask, OPTIONS, outcome, takes } from '../../support/fair-queue.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('order', () => {
  it('serves one share in the order it asked', async () => {
    const queue = new FairQueue(OPTIONS);
    const order: number[] = [];
    for (let index = 0; index < 6; index++) {
      void queue.run(
        ask('uid:1'),
        takes(10, () => order.push(index)),
      );
    }
    await vi.advanceTimersByTimeAsync(100);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('a newcomer is served next, whatever the others have waiting', async () => {
    const queue = new FairQueue(OPTIONS);
    const order: string[] = [];
    for (let index = 0; index < 6; index++) {
      void queue.run(
        ask('uid:1'),
        takes(100, () => order.push(`busy${index}`)),
      );
    }
    await vi.advanceTimersByTimeAsync(150);
    void queue.run(
      ask('uid:2'),
      takes(100, () => order.push('new')),
    );
    await vi.advanceTimersByTimeAsync(1000);
    expect(order.slice(0, 3)).toEqual(['busy0', 'busy1', 'new']);
  });

  it('counts the time used, not the number of operations', async () => {
    const queue = new FairQueue({ ...OPTIONS, maxWaiting: 400, maxWaitingPerShare: 200 });
    const used = { slow: 0, fast: 0 };
    for (let index = 0; index < 20; index++) {
      void queue.run(
        ask('slow'),
        takes(500, () => (used.slow += 500)),
      );
    }
    for (let index = 0; index < 200; index++) {
      void queue.run(
        ask('fast'),
        takes(50, () => (used.fast += 50)),
      );
    }
    await vi.advanceTimersByTimeAsync(10_000);
    expect(Math.abs(used.slow - used.fast)).toBeLessThanOrEqual(1000);
    expect(used.slow + used.fast).toBeGreaterThan(9000);
  });

  it('absence earns no credit: who comes back after long takes turns from then on', async () => {
    const queue = new FairQueue({ ...OPTIONS, maxWaiting: 400, maxWaitingPerShare: 200 });
    const order: string[] = [];
    const ask100 = (share: string, count: number): void => {
      for (let index = 0; index < count; index++) {
        void queue.run(
          ask(share),
          takes(100, () => order.push(share)),
        );
      }
    };
    ask100('back', 1);
    ask100('busy', 100);
    await vi.advanceTimersByTimeAsync(5_000);
    order.length = 0;
    ask100('back', 20);
    await vi.advanceTimersByTimeAsync(2_000);
    const back = order.filter((share) => share === 'back').length;
    expect(Math.abs(order.length - 2 * back)).toBeLessThanOrEqual(2);
  });

  it('S20: no share that keeps asking gets more than any other, for random loads', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 2, maxLength: 5 }),
        fc.integer({ min: 1, max: 3 }),
        async (costs, concurrency) => {
          const queue = new FairQueue({ ...OPTIONS, concurrency, maxWaiting: 64 });
          const used = costs.map(() => 0);
          let stop = false;
          costs.forEach((cost, share) => {
            // Enough in flight that the share always has one waiting.
            for (let lane = 0; lane <= concurrency; lane++) {
              const again = (): void => {
                if (stop) return;
                void queue
                  .run(
                    ask(`uid:${share}`),
                    takes(cost, () => (used[share] = (used[share] ?? 0) + cost)),
                  )
                  .then(again);
              };
              again();
            }
          });
          await vi.advanceTimersByTimeAsync(20_000);
          stop = true;
          const slack = 4 * Math.max(...costs) * concurrency + OPTIONS.expectedServiceMs * concurrency;
          expect(Math.max(...used) - Math.min(...used)).toBeLessThanOrEqual(slack);
          await vi.advanceTimersByTimeAsync(20_000);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('keeps to its concurrency and leaves no place unused', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.record({ share: fc.integer({ min: 0, max: 3 }), ms: fc.integer({ min: 1, max: 50 }) }), {
          maxLength: 30,
        }),
        async (concurrency, operations) => {
          const queue = new FairQueue({ ...OPTIONS, concurrency, maxWaiting: 64, maxWaitingPerShare: 64 });
          let running = 0;
          let finished = 0;
          for (const { share, ms } of operations) {
            void queue.run(ask(`uid:${share}`), async () => {
              running += 1;
              expect(running).toBeLessThanOrEqual(concurrency);
              await takes(ms)();
              running -= 1;
              finished += 1;
            });
          }
          expect(queue.state.running).toBe(Math.min(concurrency, operations.length));
          await vi.advanceTimersByTimeAsync(5_000);
          expect(finished).toBe(operations.length);
          expect(queue.state).toMatchObject({ waiting: 0, running: 0 });
        },
      ),
      { numRuns: 40 },
    );
  });
});

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

describe('what is told to the watcher', () => {
  it('is the wait of whatever got its turn, and the code and stage of whatever did not', async () => {
    const queue = new FairQueue({ ...OPTIONS, maxWaitingPerShare: 2 });
    const waits: number[] = [];
    const refusals: string[] = [];
    queue.watch({
      started: (waitedMs) => waits.push(waitedMs),
      refused: (code, stage) => refusals.push(`${stage} ${code}`),
    });
    const caller = new AbortController();
    const results = [
      queue.run(ask('uid:1', { timeoutMs: 50 }), takes(100)),
      queue.run(ask('uid:1'), takes(100)),
      queue.run(ask('uid:1', { signal: caller.signal }), takes(100)),
      queue.run(ask('uid:1'), takes(100)),
    ].map(outcome);
    caller.abort();
    await vi.advanceTimersByTimeAsync(200);
    await Promise.all(results);
    expect(waits).toEqual([0, 100]);
    expect(refusals).toEqual([
      'waiting too_many_requests',
      'waiting caller_gone',
      'running deadline_exceeded',
    ]);
  });
});

describe('leaving', () => {
  it('a caller that has gone is taken out and its work never starts', async () => {
    const queue = new FairQueue(OPTIONS);
    const caller = new AbortController();
    const started = vi.fn(takes(10));
    void queue.run(ask('uid:1'), takes(100));
    const waiting = outcome(queue.run(ask('uid:1', { signal: caller.signal }), started));
    caller.abort();
    expect((await waiting)?.code).toBe('caller_gone');
    expect(queue.state.waiting).toBe(0);
    await vi.advanceTimersByTimeAsync(500);
    expect(started).not.toHaveBeenCalled();
    expect(await codeOfAsync(() => queue.run(ask('uid:1', { signal: caller.signal }), started))).toBe(
      'caller_gone',
    );
  });

  it('a deadline that passes while waiting is answered, and the work never starts', async () => {
    const queue = new FairQueue(OPTIONS);
    const started = vi.fn(takes(10));
    void queue.run(ask('uid:1'), takes(1_000));
    const late = outcome(queue.run(ask('uid:2', { timeoutMs: 200 }), started));
    await vi.advanceTimersByTimeAsync(200);
    expect(await late).toMatchObject({ code: 'deadline_exceeded', status: 503 });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(started).not.toHaveBeenCalled();
  });

  it('a deadline that passes while running is answered, tells the work, and the place stays taken', async () => {
    const queue = new FairQueue(OPTIONS);
    let told: unknown;
    const late = outcome(
      queue.run(ask('uid:1', { timeoutMs: 50 }), (signal) => {
        signal.addEventListener('abort', () => {
          told = signal.reason;
        });
        return takes(300)();
      }),
    );
    const next = vi.fn(takes(1));
    void queue.run(ask('uid:2'), next);
    await vi.advanceTimersByTimeAsync(60);
    expect((await late)?.code).toBe('deadline_exceeded');
    expect(told).toMatchObject({ code: 'deadline_exceeded' });
    expect(next).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(300);
    expect(next).toHaveBeenCalledOnce();
  });

  it('what the work throws, also at once, is thrown on and frees the place', async () => {
    const queue = new FairQueue(OPTIONS);
    const fault = new KeydError('tpm_lockout', 'locked');
    await expect(
      queue.run(ask('uid:1'), () => {
        throw fault;
      }),
    ).rejects.toBe(fault);
    await expect(queue.run(ask('uid:1'), () => Promise.reject(fault))).rejects.toBe(fault);
    expect(queue.state).toMatchObject({ waiting: 0, running: 0 });
  });

  it('closing refuses what waits and what comes, and drains what runs', async () => {
    const queue = new FairQueue(OPTIONS);
    const running = queue.run(ask('uid:1'), () => takes(100)().then(() => 'signed'));
    const waiting = outcome(queue.run(ask('uid:2'), takes(100)));
    let closed = false;
    const closing = queue.close().then(() => (closed = true));
    expect((await waiting)?.code).toBe('shutting_down');
    expect(await codeOfAsync(() => queue.run(ask('uid:3'), takes(1)))).toBe('shutting_down');
    expect(closed).toBe(false);
    await vi.advanceTimersByTimeAsync(100);
    expect(await running).toBe('signed');
    await closing;
    await queue.close();
  });
});
