import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { SerialQueue } from '../../../../src/backend/tpm/serial-queue.ts';
import { KeydError } from '../../../../src/wire/problem.ts';
import { codeOfAsync } from '../../../support/code-of.ts';

/** A job that runs until `finish`, and what has started so far. */
function jobs(): { started: string[]; job: (name: string) => () => Promise<string>; finish: () => void } {
  const started: string[] = [];
  const waiting: (() => void)[] = [];
  return {
    started,
    job: (name) => () => {
      started.push(name);
      return new Promise((resolve) => {
        waiting.push(() => {
          resolve(name);
        });
      });
    },
    finish: () => {
      waiting.shift()?.();
    },
  };
}

const soon = (): Promise<void> => delay(1);

describe('SerialQueue', () => {
  it('runs one job at a time, in order', async () => {
    const queue = new SerialQueue(10);
    const { started, job, finish } = jobs();
    const results = ['a', 'b', 'c'].map((name) => queue.run(job(name)));
    for (const expected of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
      await soon();
      expect(started).toEqual(expected);
      finish();
    }
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c']);
    expect(queue.runningForMs).toBeUndefined();
  });

  it('goes on after a job that failed', async () => {
    const queue = new SerialQueue(10);
    await expect(queue.run(() => Promise.reject(new KeydError('conflict', 'x')))).rejects.toThrow('x');
    expect(await queue.run(() => Promise.resolve(1))).toBe(1);
  });

  it('S20: refuses at once what is over its limit', async () => {
    const queue = new SerialQueue(1);
    const { job, finish } = jobs();
    const running = queue.run(job('a'));
    const waiting = queue.run(job('b'));
    expect(await codeOfAsync(() => queue.run(job('c')))).toBe('too_many_requests');
    finish();
    await running;
    finish();
    await waiting;
  });

  it('who leaves gives up the place at once, and the job never starts', async () => {
    const queue = new SerialQueue(1);
    const { started, job, finish } = jobs();
    const running = queue.run(job('a'));
    const leaving = new AbortController();
    const left = codeOfAsync(() => queue.run(job('b'), leaving.signal));
    leaving.abort();
    expect(await left).toBe('caller_gone');
    const next = queue.run(job('c'));
    finish();
    await running;
    await soon();
    finish();
    expect(await next).toBe('c');
    expect(started).toEqual(['a', 'c']);
  });

  it('says why the caller left, if the signal says so', async () => {
    const queue = new SerialQueue(1);
    const signal = AbortSignal.abort(new KeydError('deadline_exceeded', 'too late'));
    expect(await codeOfAsync(() => queue.run(() => Promise.resolve(1), signal))).toBe('deadline_exceeded');
  });

  it('an abort after the job has started changes nothing', async () => {
    const queue = new SerialQueue(1);
    const { job, finish } = jobs();
    const leaving = new AbortController();
    const first = queue.run(job('a'));
    const second = queue.run(job('b'), leaving.signal);
    finish();
    await first;
    await soon();
    leaving.abort();
    finish();
    expect(await second).toBe('b');
  });

  it('close refuses what waits and what comes, and lets the running job end', async () => {
    const queue = new SerialQueue(5);
    const { job, finish } = jobs();
    const running = queue.run(job('a'));
    const waiting = codeOfAsync(() => queue.run(job('b')));
    const closed = queue.close();
    expect(await waiting).toBe('shutting_down');
    expect(await codeOfAsync(() => queue.run(job('c')))).toBe('shutting_down');
    finish();
    expect(await running).toBe('a');
    await closed;
    await queue.close();
    expect(() => {
      queue.requireOpen();
    }).toThrow('closed');
  });
});
