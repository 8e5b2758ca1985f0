import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../../src/base/backoff.ts';

describe('backoffMs', () => {
  const options = { baseMs: 1000, maxMs: 60_000 };

  it('doubles with each failure and stays within half to whole of its ceiling', () => {
    for (const [failures, ceiling] of [
      [1, 1000],
      [2, 2000],
      [5, 16_000],
    ] as const) {
      expect(backoffMs(failures, { ...options, random: () => 0 })).toBe(ceiling / 2);
      expect(backoffMs(failures, { ...options, random: () => 0.999_999 })).toBe(ceiling);
    }
  });

  it('never waits longer than its maximum, however many failures', () => {
    expect(backoffMs(7, { ...options, random: () => 1 })).toBe(60_000);
    expect(backoffMs(10_000, { ...options, random: () => 1 })).toBe(60_000);
  });
});
