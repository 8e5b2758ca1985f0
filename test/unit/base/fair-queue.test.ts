import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { FairQueue } from '../../../src/base/fair-queue.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { ask, OPTIONS, outcome, takes } from '../../support/fair-queue.ts';
import { useFakeTime } from '../../support/fake-time.ts';

useFakeTime();

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
