import { describe, expect, it } from 'vitest';
import { RetryPlan } from '../../../src/issuance/renewal-plan.ts';

describe('RetryPlan', () => {
  it('does what is due at its time while nothing fails', () => {
    expect(new RetryPlan().dueMs('host', 5_000)).toBe(5_000);
  });

  it('holds a failed target back, longer with each failure, and others not at all', () => {
    const plan = new RetryPlan(() => 0);
    plan.failed('a', 10_000);
    expect(plan.dueMs('a', 0)).toBe(11_000);
    plan.failed('a', 11_000);
    expect(plan.dueMs('a', 0)).toBe(13_000);
    expect(plan.dueMs('b', 0)).toBe(0);
  });

  it('never comes back before the issuer’s Retry-After', () => {
    const plan = new RetryPlan(() => 0);
    plan.failed('a', 0, 120);
    expect(plan.dueMs('a', 0)).toBe(120_000);
  });

  it('forgets failures after a success, and targets that are no more', () => {
    const plan = new RetryPlan(() => 0);
    plan.failed('a', 0);
    plan.succeeded('a');
    expect(plan.dueMs('a', 0)).toBe(0);
    plan.failed('gone', 0);
    plan.keepOnly(new Set(['a']));
    expect(plan.dueMs('gone', 0)).toBe(0);
  });
});
