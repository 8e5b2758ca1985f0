/** S16: repeated denials of one caller fill no disk; none goes uncounted. */
import { describe, expect, it } from 'vitest';
import { DenialQuota } from '../../../src/audit/denial-quota.ts';

const MINUTE = 60_000;

function quota(perMinute: number) {
  const written: (readonly [string, number, number])[] = [];
  return { written, of: new DenialQuota(perMinute, (...counted) => written.push(counted)) };
}

describe('S16: denials', () => {
  it('beyond the quota are counted, and the count is written once the minute is over', () => {
    const { of, written } = quota(3);
    const taken = Array.from({ length: 10 }, (_, i) => of.take('uid:1', i));
    expect(taken).toEqual([true, true, true, ...Array<boolean>(7).fill(false)]);
    of.flush(MINUTE - 1);
    expect(written).toEqual([]);
    expect(of.take('uid:1', MINUTE)).toBe(true);
    expect(written).toEqual([['uid:1', 7, 0]]);
  });

  it('of one caller take nothing of another’s', () => {
    const { of } = quota(1);
    for (let i = 0; i < 100; i += 1) of.take('uid:1', 0);
    expect(of.take('uid:2', 0)).toBe(true);
  });

  it('are all accounted for: full entries and counts are as many as there were', () => {
    const { of, written } = quota(5);
    let full = 0;
    const shares = ['a', 'b', 'c'];
    for (let i = 0; i < 5000; i += 1) if (of.take(shares[i % 3] ?? 'a', i * 97)) full += 1;
    of.end();
    expect(full + written.reduce((sum, [, count]) => sum + count, 0)).toBe(5000);
    expect(full).toBeLessThan(200);
  });

  it('that are over leave nothing behind', () => {
    const { of, written } = quota(1);
    of.take('a', 0);
    of.take('a', 1);
    of.end();
    of.end();
    expect(written).toEqual([['a', 1, 0]]);
  });
});

it('S16: while the disk is short none gets an entry of its own; all are counted', () => {
  const written: unknown[] = [];
  const quota = new DenialQuota(2, (share, count) => written.push([share, count]));
  expect([quota.take('uid:1', 0), quota.take('uid:1', 1, true), quota.take('uid:1', 2, true)]).toEqual([
    true,
    false,
    false,
  ]);
  quota.end();
  expect(written).toEqual([['uid:1', 2]]);
});
