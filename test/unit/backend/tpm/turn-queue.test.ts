import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { TurnQueue } from '../../../../src/backend/tpm/turn-queue.ts';
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

describe('TurnQueue', () => {
  it('runs one job at a time, in order', async () => {
    const queue = new TurnQueue(10);
    const { started, job, finish } = jobs();
    const results = ['a', 'b', 'c'].map((name) => queue.alone(job(name)));
    for (const expected of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
      await soon();
      expect(started).toEqual(expected);
      finish();
    }
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c']);
    expect(queue.runningForMs).toBeUndefined();
  });

  it('runs jobs beside one another, but none beside one that runs alone, and nobody is overtaken', async () => {
    const queue = new TurnQueue(10);
    const { started, job, finish } = jobs();
    const results = [
      queue.beside(job('a')),
      queue.beside(job('b')),
      queue.alone(job('C')),
      queue.beside(job('d')),
      queue.beside(job('e')),
      queue.alone(job('F')),
    ];
    await soon();
    expect(started).toEqual(['a', 'b']);
    finish();
    await soon();
    expect(started).toEqual(['a', 'b']);
    expect(queue.runningForMs).toBeDefined();
    finish();
    await soon();
    expect(started).toEqual(['a', 'b', 'C']);
    finish();
    await soon();
    expect(started).toEqual(['a', 'b', 'C', 'd', 'e']);
    finish();
    finish();
    await soon();
    finish();
    expect(await Promise.all(results)).toEqual(['a', 'b', 'C', 'd', 'e', 'F']);
    expect(queue.runningForMs).toBeUndefined();
  });

  it('closes only once all that run beside one another have ended', async () => {
    const queue = new TurnQueue(10);
    const { job, finish } = jobs();
    const running = [queue.beside(job('a')), queue.beside(job('b'))];
    let closed = false;
    const closing = queue.close().then(() => {
      closed = true;
    });
    finish();
    await soon();
    expect(closed).toBe(false);
    finish();
    await closing;
    expect(await Promise.all(running)).toEqual(['a', 'b']);
  });

  it('goes on after a job that failed', async () => {
    const queue = new TurnQueue(10);
    await expect(queue.alone(() => Promise.reject(new KeydError('conflict', 'x')))).rejects.toThrow('x');
    expect(await queue.alone(() => Promise.resolve(1))).toBe(1);
  });

  it('S20: refuses at once what is over its limit', async () => {
    const queue = new TurnQueue(1);
    const { job, finish } = jobs();
    const running = queue.alone(job('a'));
    const waiting = queue.alone(job('b'));
    expect(await codeOfAsync(() => queue.alone(job('c')))).toBe('too_many_requests');
    finish();
    await running;
    finish();
    await waiting;
  });

  it('who leaves gives up the place at once, and the job never starts', async () => {
    const queue = new TurnQueue(1);
    const { started, job, finish } = jobs();
    const running = queue.alone(job('a'));
    const leaving = new AbortController();
    const left = codeOfAsync(() => queue.alone(job('b'), leaving.signal));
    leaving.abort();
    expect(await left).toBe('caller_gone');
    const next = queue.alone(job('c'));
    finish();
    await running;
    await soon();
    finish();
    expect(await next).toBe('c');
    expect(started).toEqual(['a', 'c']);
  });

  it('says why the caller left, if the signal says so', async () => {
    const queue = new TurnQueue(1);
    const signal = AbortSignal.abort(new KeydError('deadline_exceeded', 'too late'));
    expect(await codeOfAsync(() => queue.alone(() => Promise.resolve(1), signal))).toBe('deadline_exceeded');
  });

  it('an abort after the job has started changes nothing', async () => {
    const queue = new TurnQueue(1);
    const { job, finish } = jobs();
    const leaving = new AbortController();
    const first = queue.alone(job('a'));
    const second = queue.alone(job('b'), leaving.signal);
    finish();
    await first;
    await soon();
    leaving.abort();
    finish();
    expect(await second).toBe('b');
  });

  it('close refuses what waits and what comes, and lets the running job end', async () => {
    const queue = new TurnQueue(5);
    const { job, finish } = jobs();
    const running = queue.alone(job('a'));
    const waiting = codeOfAsync(() => queue.alone(job('b')));
    const closed = queue.close();
    expect(await waiting).toBe('shutting_down');
    expect(await codeOfAsync(() => queue.alone(job('c')))).toBe('shutting_down');
    finish();
    expect(await running).toBe('a');
    await closed;
    await queue.close();
    expect(() => {
      queue.requireOpen();
    }).toThrow('closed');
  });
});
