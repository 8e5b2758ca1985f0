import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { KeyedLock } from '../../../src/base/keyed-lock.ts';

describe('KeyedLock', () => {
  it('runs work of one key in order, and of other keys meanwhile', async () => {
    const lock = new KeyedLock();
    const order: string[] = [];
    const work = (name: string, ms: number) => async () => {
      order.push(`${name} begins`);
      await sleep(ms);
      order.push(`${name} ends`);
      return name;
    };
    const results = await Promise.all([
      lock.run('a', work('a1', 20)),
      lock.run('a', work('a2', 1)),
      lock.run('b', work('b1', 1)),
    ]);
    expect(results).toEqual(['a1', 'a2', 'b1']);
    expect(order.filter((entry) => entry.startsWith('a'))).toEqual([
      'a1 begins',
      'a1 ends',
      'a2 begins',
      'a2 ends',
    ]);
    expect(order.indexOf('b1 ends')).toBeLessThan(order.indexOf('a1 ends'));
  });

  it('a failure is thrown on and stops nobody', async () => {
    const lock = new KeyedLock();
    const failing = lock.run('a', () => Promise.reject(new Error('no')));
    const next = lock.run('a', () => Promise.resolve('yes'));
    await expect(failing).rejects.toThrow('no');
    expect(await next).toBe('yes');
  });
});
