import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Book } from '../../../src/ledger/book.ts';
import type { Charge, Payer } from '../../../src/ledger/charge.ts';
import { openLedger, type Ledger, type LedgerOptions } from '../../../src/ledger/ledger.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { FileCounter } from '../../support/file-counter.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

let temp: Awaited<ReturnType<typeof makeTempDir>>;
let open: Ledger[] = [];

beforeEach(async () => {
  temp = await makeTempDir();
  open = [];
});
afterEach(async () => {
  for (const ledger of open) await ledger.end().catch(() => undefined);
  await temp.remove();
});

const state = (): string => join(temp.path, 'ledger');
const counter = (): FileCounter => new FileCounter(join(temp.path, 'counter'));

async function start(more: Partial<LedgerOptions> = {}): Promise<Ledger> {
  const ledger = await openLedger({ directory: state(), counter: counter(), ...more });
  open.push(ledger);
  return ledger;
}

const GRANT = 'grant:g';
const payer = (agentId = 'a', account = GRANT): Payer => ({ account, grantId: 'g', agentId });
const usd = (amount: bigint): Charge => ({ kind: 'budget', unit: 'USD.2', amount });
const once: Charge = {
  kind: 'limit',
  policy: 'pay',
  per: 'grant',
  window: 'lifetime',
  limit: 1n,
  unit: 'uses.0',
  amount: 1n,
};
const spentOf = (ledger: Ledger, account = GRANT): bigint => ledger.budgets(account)[0]?.spent ?? -1n;

async function funded(amount = 1000n, more: Partial<LedgerOptions> = {}): Promise<Ledger> {
  const ledger = await start(more);
  await ledger.openGrant(GRANT, new Map([['USD.2', amount]]));
  return ledger;
}

describe('a budget', () => {
  it('is spent exactly, and no unit means zero', async () => {
    const ledger = await funded(1000n);
    await ledger.reserve(payer(), [usd(999n)]).durable;
    expect(codeOf(() => ledger.reserve(payer(), [usd(2n)]))).toBe('budget_exceeded');
    await ledger.reserve(payer(), [usd(1n)]).durable;
    expect(codeOf(() => ledger.reserve(payer(), [usd(1n)]))).toBe('budget_exceeded');
    expect(codeOf(() => ledger.reserve(payer(), [{ kind: 'budget', unit: 'EUR.2', amount: 1n }]))).toBe(
      'budget_exceeded',
    );
  });

  it('is never exceeded by one unit by 64 concurrent callers', async () => {
    const ledger = await funded(1000n);
    const granted: bigint[] = [];
    await Promise.all(
      Array.from({ length: 64 }, async (_, i) => {
        for (let n = 0; n < 40; n += 1) {
          const amount = BigInt((i * 7 + n) % 5) + 1n;
          try {
            await ledger.reserve(payer(`a${i}`), [usd(amount)]).durable;
            granted.push(amount);
          } catch (thrown) {
            expect(thrown).toMatchObject({ code: 'budget_exceeded' });
          }
        }
      }),
    );
    expect(granted.reduce((sum, amount) => sum + amount, 0n)).toBe(1000n);
  });

  it('gets back what hardware was never asked for, and what a settlement lowers, once', async () => {
    const ledger = await funded(1000n);
    const first = ledger.reserve(payer(), [usd(600n)]);
    await first.durable;
    first.release();
    first.release();
    expect(spentOf(ledger)).toBe(0n);
    const second = ledger.reserve(payer(), [usd(600n)]);
    await second.durable;
    second.commit();
    expect(await codeOfAsync(() => ledger.settle(second.id, new Map([['USD.2', 601n]])))).toBe(
      'budget_exceeded',
    );
    await ledger.settle(second.id, new Map([['USD.2', 100n]]));
    expect(spentOf(ledger)).toBe(100n);
    expect(await codeOfAsync(() => ledger.settle(second.id, new Map([['USD.2', 1n]])))).toBe('not_found');
  });

  it('S6: belongs to the grant: a hundred agents, and ones made anew, share it', async () => {
    const ledger = await funded(100n);
    for (let i = 0; i < 100; i += 1) await ledger.reserve(payer(`agent-${i}`), [usd(1n)]).durable;
    expect(codeOf(() => ledger.reserve(payer('agent-new'), [usd(1n)]))).toBe('budget_exceeded');
    await ledger.openGrant(GRANT, new Map([['USD.2', 100n]]));
    expect(codeOf(() => ledger.reserve(payer('agent-new'), [usd(1n)]))).toBe('budget_exceeded');
    await ledger.openGrant(GRANT, new Map([['USD.2', 50n]]));
    expect(codeOf(() => ledger.reserve(payer('agent-new'), [usd(1n)]))).toBe('budget_exceeded');
  });
});

describe('allocations', () => {
  it('come out of the parent, all or none, at every depth, and siblings do not add up to more', async () => {
    const ledger = await funded(100n);
    await ledger.allocate(GRANT, 'delegation:a', new Map([['USD.2', 60n]]));
    expect(codeOf(() => ledger.allocate(GRANT, 'delegation:b', new Map([['USD.2', 60n]])))).toBe(
      'budget_exceeded',
    );
    await ledger.allocate('delegation:a', 'delegation:a1', new Map([['USD.2', 50n]]));
    expect(codeOf(() => ledger.reserve(payer('a', 'delegation:a'), [usd(11n)]))).toBe('budget_exceeded');
    await ledger.reserve(payer('a1', 'delegation:a1'), [usd(50n)]).durable;
    expect(codeOf(() => ledger.reserve(payer(), [usd(41n)]))).toBe('budget_exceeded');
    await ledger.topUp('delegation:a1', new Map([['USD.2', 10n]]));
    await ledger.reserve(payer('a1', 'delegation:a1'), [usd(10n)]).durable;
  });

  it('return what is left only when their time has come, and keep spent what was spent', async () => {
    let now = 1_000_000;
    const ledger = await funded(100n, { now: () => now });
    await ledger.allocate(GRANT, 'delegation:a', new Map([['USD.2', 60n]]));
    await ledger.reserve(payer('a', 'delegation:a'), [usd(20n)]).durable;
    await ledger.close('delegation:a', now + 60_000);
    expect(codeOf(() => ledger.reserve(payer('a', 'delegation:a'), [usd(1n)]))).toBe('budget_exceeded');
    await ledger.sweep();
    expect(codeOf(() => ledger.reserve(payer(), [usd(41n)]))).toBe('budget_exceeded');
    now += 60_000;
    await ledger.sweep();
    await ledger.reserve(payer(), [usd(80n)]).durable;
    expect(codeOf(() => ledger.reserve(payer(), [usd(1n)]))).toBe('budget_exceeded');
  });
});

describe('a limit', () => {
  it('counts once, also for 64 at a time, and after a restart', async () => {
    const ledger = await funded();
    const results = await Promise.allSettled(
      Array.from({ length: 64 }, async (_, i) => ledger.reserve(payer(`a${i}`), [usd(1n), once]).durable),
    );
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(1);
    expect(spentOf(ledger)).toBe(1n);
    const again = await start();
    expect(codeOf(() => again.reserve(payer('other'), [once]))).toBe('limit_reached');
  });

  it('begins anew with its window, and never again when the clock is set back', async () => {
    let now = Date.UTC(2026, 0, 1, 12, 0, 30);
    const ledger = await funded(1000n, { now: () => now });
    const perMinute: Charge = { ...once, window: 'minute' };
    await ledger.reserve(payer(), [perMinute]).durable;
    expect(codeOf(() => ledger.reserve(payer(), [perMinute]))).toBe('limit_reached');
    now += 60_000;
    await ledger.reserve(payer(), [perMinute]).durable;
    now -= 120_000;
    expect(codeOf(() => ledger.reserve(payer(), [perMinute]))).toBe('limit_reached');
  });

  it('is each agent’s own where the policy says so', async () => {
    const ledger = await funded();
    const each: Charge = { ...once, per: 'agent' };
    await ledger.reserve(payer('a'), [each]).durable;
    await ledger.reserve(payer('b'), [each]).durable;
    expect(codeOf(() => ledger.reserve(payer('a'), [each]))).toBe('limit_reached');
  });
});

describe('S8: epochs', () => {
  it('a crash costs at most the open lease', async () => {
    const ledger = await funded(3200n);
    await ledger.reserve(payer(), [usd(10n)]).durable;
    const again = await start();
    expect(spentOf(again)).toBe(10n + 100n);
    expect(again.state().fault).toBeUndefined();
  });

  it('a clean end costs nothing', async () => {
    const ledger = await funded(3200n);
    await ledger.reserve(payer(), [usd(10n)]).durable;
    await ledger.end();
    expect(spentOf(await start())).toBe(10n);
  });

  it('a copy restored within its epoch has lost what was leased', async () => {
    const ledger = await funded(3200n);
    await ledger.reserve(payer(), [usd(1n)]).durable;
    const copy = join(temp.path, 'copy');
    cpSync(state(), copy, { recursive: true });
    let given = 1n;
    for (;;) {
      const { epoch } = ledger.state();
      await ledger.reserve(payer(), [usd(9n)]).durable;
      if (ledger.state().epoch !== epoch) break;
      given += 9n;
      const restored = join(temp.path, `r${given}`);
      cpSync(copy, restored, { recursive: true });
      const older = await start({ directory: restored });
      expect(spentOf(older)).toBeGreaterThanOrEqual(given);
    }
    expect(given).toBeGreaterThan(90n);
  });

  it('a copy restored in a later epoch is refused until an operator accepts it, and then spends no lease', async () => {
    const ledger = await funded(3200n);
    await ledger.reserve(payer(), [usd(1n)]).durable;
    const copy = join(temp.path, 'copy');
    cpSync(state(), copy, { recursive: true });
    await ledger.anchor();
    const older = await start({ directory: copy });
    expect(older.state().fault?.code).toBe('ledger_rolled_back');
    expect(codeOf(() => older.reserve(payer(), [usd(1n)]))).toBe('ledger_rolled_back');
    expect(codeOf(() => older.allocate(GRANT, 'delegation:x', new Map([['USD.2', 1n]])))).toBe(
      'ledger_rolled_back',
    );
    await older.acceptRollback('uid 0');
    await older.reserve(payer(), [usd(1n)]).durable;
    expect(await codeOfAsync(() => older.acceptRollback('uid 0'))).toBe('conflict');
  });

  it('an emptied directory is no new beginning', async () => {
    const ledger = await funded(3200n);
    await ledger.reserve(payer(), [usd(3200n)]).durable;
    rmSync(state(), { recursive: true });
    expect((await start()).state().fault?.code).toBe('ledger_rolled_back');
  });

  it('lease 0 moves the counter at every reservation, and a crash costs nothing', async () => {
    const ledger = await funded(3200n, { leases: new Map([['USD.2', 0n]]) });
    // The first value after a start is passed over.
    const before = ledger.state().epoch + 1n;
    for (let i = 0; i < 5; i += 1) await ledger.reserve(payer(), [usd(1n)]).durable;
    expect(ledger.state().epoch).toBe(before + 5n);
    expect(spentOf(await start({ leases: new Map([['USD.2', 0n]]) }))).toBe(5n);
  });

  it.each([
    ['before it moved', false],
    ['after it moved', true],
  ])('a counter that fails once, %s, stops what asked and nothing after it', async (_, hasMoved) => {
    class Failing extends FileCounter {
      fails = 0;
      override async advance(expected: bigint, bound: Uint8Array) {
        this.fails -= 1;
        if (this.fails !== 0) return super.advance(expected, bound);
        if (hasMoved) await super.advance(expected, bound);
        throw new KeydError('tpm_unavailable', 'the TPM did not answer');
      }
    }
    const failing = new Failing(join(temp.path, 'counter'));
    const ledger = await funded(3200n, { counter: failing });
    await ledger.reserve(payer(), [usd(1n)]).durable;
    failing.fails = 1;
    expect(await codeOfAsync(() => ledger.anchor())).toBe('tpm_unavailable');
    await ledger.anchor();
    await ledger.reserve(payer(), [usd(1n)]).durable;
    expect(ledger.state().epoch).toBe(await failing.read());
    await ledger.end();
    const again = await start();
    expect(again.state().fault).toBeUndefined();
    expect(spentOf(again)).toBe(2n);
  });
});

describe('what can be settled', () => {
  it('is what was reserved last, ten thousand of it; the rest stays spent', () => {
    const book = new Book();
    book.apply({ t: 'grant', at: 0, account: GRANT, budgets: { 'USD.2': '100000' } });
    for (let number = 0; number < 25_001; number += 1) {
      book.apply({ t: 'reserve', at: 0, id: `r${number}`, take: { [`${GRANT}|USD.2`]: '1' } });
      // One of three is settled before it is old.
      if (number % 3 === 0) book.apply({ t: 'settle', at: 0, id: `r${number}`, give: {} });
    }
    const left = [...book.reservations.keys()];
    expect([left.length, left[0], left.at(-1)]).toEqual([10_000, 'r10001', 'r25000']);
    expect(book.free(`${GRANT}|USD.2`)).toBe(74_999n);
  });
});
