/** Limits at the edges of their windows, by a clock that is set: minutes, hours and days of UTC, and a lifetime. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Charge, Payer, Window } from '../../../src/ledger/charge.ts';
import { openLedger, type Ledger } from '../../../src/ledger/ledger.ts';
import { codeOf } from '../../support/code-of.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

let temp: Awaited<ReturnType<typeof makeTempDir>>;
let ledger: Ledger;
let nowMs = 0;

beforeEach(async () => {
  temp = await makeTempDir();
  nowMs = 0;
  ledger = await start();
});
afterEach(async () => {
  await ledger.end().catch(() => undefined);
  await temp.remove();
});

const start = (): Promise<Ledger> =>
  openLedger({ directory: temp.path, counter: undefined, now: () => nowMs });
const payer = (agentId: string, grantId = 'g', account = `grant:${grantId}`): Payer => ({
  ...{ account, grantId, agentId },
});
const limit = (window: Window, count: bigint, more: Partial<Charge> = {}): Charge => ({
  ...{ kind: 'limit', policy: 'p', per: 'grant', window, limit: count, unit: 'uses.0', amount: 1n },
  ...more,
});
const take = (charge: Charge, of = payer('a')): string =>
  codeOf(() => void ledger.reserve(of, [charge]).durable.catch(() => undefined)) ?? 'taken';

const NOON = Date.UTC(2026, 1, 28, 12, 0, 0);
const LENGTH_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;

describe.each(['minute', 'hour', 'day'] as const)('a limit per %s', (window) => {
  const length = LENGTH_MS[window];
  const begins = Math.floor(NOON / length) * length;

  it('holds from its first millisecond to its last, and begins anew with the next', () => {
    nowMs = begins;
    expect([1, 2, 3].map(() => take(limit(window, 2n)))).toEqual(['taken', 'taken', 'limit_reached']);
    nowMs = begins + length - 1;
    expect(take(limit(window, 2n))).toBe('limit_reached');
    nowMs = begins + length;
    expect([1, 2, 3].map(() => take(limit(window, 2n)))).toEqual(['taken', 'taken', 'limit_reached']);
  });

  it('is no sliding one: what fits two windows fits into a moment between them', () => {
    nowMs = begins + length - 1;
    expect([1, 2, 3].map(() => take(limit(window, 2n)))).toEqual(['taken', 'taken', 'limit_reached']);
    nowMs += 1;
    expect([1, 2].map(() => take(limit(window, 2n)))).toEqual(['taken', 'taken']);
  });

  it('does not come back when the clock does, nor with a restart, nor when it is swept', async () => {
    nowMs = begins + length;
    expect(take(limit(window, 1n))).toBe('taken');
    nowMs = begins + 1;
    expect(take(limit(window, 1n))).toBe('limit_reached');
    await ledger.sweep();
    await ledger.end();
    ledger = await start();
    expect(take(limit(window, 1n))).toBe('limit_reached');
    nowMs = begins + 2 * length;
    await ledger.sweep();
    expect(take(limit(window, 1n))).toBe('taken');
  });
});

it('a limit per lifetime never begins anew', async () => {
  nowMs = NOON;
  expect(take(limit('lifetime', 1n))).toBe('taken');
  nowMs += 100 * 365 * LENGTH_MS.day;
  await ledger.sweep();
  await ledger.end();
  ledger = await start();
  expect(take(limit('lifetime', 1n))).toBe('limit_reached');
});

describe('a limit is counted', () => {
  beforeEach(() => {
    nowMs = NOON;
  });

  it('for a whole grant, its sub-agents with it, and not for another grant', () => {
    expect(take(limit('hour', 1n))).toBe('taken');
    expect(take(limit('hour', 1n), payer('b'))).toBe('limit_reached');
    expect(take(limit('hour', 1n), payer('c', 'g', 'delegation:c'))).toBe('limit_reached');
    expect(take(limit('hour', 1n), payer('a', 'other'))).toBe('taken');
  });

  it('for each agent, and so for each delegation, where the policy says so', () => {
    const each = limit('hour', 1n, { per: 'agent' });
    expect(take(each)).toBe('taken');
    expect(take(each)).toBe('limit_reached');
    expect(take(each, payer('c', 'g', 'delegation:c'))).toBe('taken');
    expect(take(each, payer('c', 'g', 'delegation:c'))).toBe('limit_reached');
  });

  it('for each policy, window and unit by itself, and all of one action or none', () => {
    expect(take(limit('hour', 1n))).toBe('taken');
    expect(take(limit('day', 1n))).toBe('taken');
    expect(take(limit('hour', 1n, { policy: 'q' }))).toBe('taken');
    const both = [limit('minute', 5n), limit('hour', 1n)];
    expect(codeOf(() => ledger.reserve(payer('a'), both))).toBe('limit_reached');
    // Nothing of the refused action was counted.
    expect([1, 2, 3, 4, 5, 6].map(() => take(limit('minute', 5n))).lastIndexOf('taken')).toBe(4);
  });

  it('in amounts to the last part, and a limit that is lowered holds at once', () => {
    const usd = (amount: bigint, most: bigint): Charge => limit('day', most, { unit: 'USD.2', amount });
    expect(take(usd(49_999n, 50_000n))).toBe('taken');
    expect(take(usd(2n, 50_000n))).toBe('limit_reached');
    expect(take(usd(1n, 40_000n))).toBe('limit_reached');
    expect(take(usd(1n, 50_000n))).toBe('taken');
    expect(take(usd(1n, 50_000n))).toBe('limit_reached');
  });
});
