/** Snapshots hold everything, are in force whole or not at all, and keep the journal short. */
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Charge } from '../../../src/ledger/charge.ts';
import { openLedger, type Ledger, type LedgerOptions } from '../../../src/ledger/ledger.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { copyAll } from '../../support/copy-all.ts';
import { FileCounter } from '../../support/file-counter.ts';
import { makeTempDir } from '../../support/temp-dir.ts';
import { writtenRecords } from '../../support/written-records.ts';

const GRANT = 'grant:g';
const PAYER = { account: GRANT, grantId: 'g', agentId: 'a' };
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

let temp: Awaited<ReturnType<typeof makeTempDir>>;
const open: Ledger[] = [];
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(async () => {
  for (const ledger of open.splice(0)) await ledger.end().catch(() => undefined);
  await temp.remove();
});

const directory = (): string => join(temp.path, 'ledger');
const counter = (): string => join(temp.path, 'counter');
const segments = (folder = directory()): readonly string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.log'))
    .sort();

async function start(more: Partial<LedgerOptions> = {}): Promise<Ledger> {
  const ledger = await openLedger({ directory: directory(), counter: new FileCounter(counter()), ...more });
  open.push(ledger);
  return ledger;
}

/** Waits until what a snapshot replaced is gone, but for the one before it: that much history is kept. */
async function alone(): Promise<void> {
  await expect.poll(() => segments().length).toBeLessThanOrEqual(2);
}

describe('a snapshot', () => {
  it('holds purses, allocations, limits, what closes, what can be settled, the epoch and the hash', async () => {
    let now = 1_000_000;
    const ledger = await start({ compactAfter: 9, now: () => now });
    await ledger.openGrant(
      GRANT,
      new Map([
        ['USD.2', 1000n],
        ['EUR.2', 5n],
      ]),
    );
    await ledger.allocate(GRANT, 'delegation:a', new Map([['USD.2', 100n]]));
    await ledger.allocate('delegation:a', 'delegation:b', new Map([['USD.2', 40n]]));
    await ledger.reserve(PAYER, [usd(7n), once]).durable;
    const settleable = ledger.reserve(PAYER, [usd(50n)]);
    await settleable.durable;
    await ledger.close('delegation:b', now + 500);
    while (segments()[0]?.includes('-0000000000000000') === true)
      await ledger.reserve(PAYER, [usd(1n)]).durable;
    await alone();
    const before = [GRANT, 'delegation:a', 'delegation:b'].map((account) => ledger.budgets(account));
    const state = ledger.state();
    await ledger.end();

    const again = await start({ now: () => now });
    expect([GRANT, 'delegation:a', 'delegation:b'].map((account) => again.budgets(account))).toEqual(before);
    expect(again.state().epoch).toBe(state.epoch + 1n);
    expect(codeOf(() => again.reserve(PAYER, [once]))).toBe('limit_reached');
    expect(codeOf(() => again.reserve({ ...PAYER, account: 'delegation:b' }, [usd(1n)]))).toBe(
      'budget_exceeded',
    );
    const spent = again.budgets(GRANT)[0]?.spent ?? 0n;
    await again.settle(settleable.id, new Map([['USD.2', 10n]]));
    expect(again.budgets(GRANT)[0]?.spent).toBe(spent - 40n);
    now += 500;
    await again.sweep();
    expect(again.budgets('delegation:b')).toEqual([]);
    expect(again.budgets('delegation:a')[0]?.allocated).toBe(0n);
  });

  it('goes on with the same hash as a ledger that keeps everything', async () => {
    const heads: string[] = [];
    const ledger = await start({ compactAfter: 5 });
    await ledger.openGrant(GRANT, new Map([['USD.2', 1000n]]));
    for (let i = 0; i < 40; i += 1) await ledger.reserve(PAYER, [usd(1n)]).durable;
    heads.push(ledger.state().head);
    cpSync(directory(), join(temp.path, 'copy'), { recursive: true });
    const copy = await openLedger({ directory: join(temp.path, 'copy'), counter: undefined });
    // Without a counter a start writes the forfeit of its leases, and that alone is new.
    open.push(copy);
    expect(copy.state().fault).toBeUndefined();
    expect(copy.state().head).not.toBe(heads[0]);
    await ledger.end();
    const { head } = ledger.state();
    expect((await start()).state().head).toBe(head);
  });

  it('keeps the journal short, however much is reserved', async () => {
    const ledger = await start({ compactAfter: 200, leases: new Map([['USD.2', 1_000_000n]]) });
    await ledger.openGrant(GRANT, new Map([['USD.2', 1_000_000n]]));
    let most = 0;
    for (let i = 0; i < 60; i += 1) {
      const held = Array.from({ length: 100 }, () => {
        const reservation = ledger.reserve(PAYER, [usd(1n)]);
        return reservation.durable.then(() => ledger.settle(reservation.id, new Map([['USD.2', 0n]])));
      });
      await Promise.all(held);
      const sizes = segments().map(
        (name) => statSync(join(directory(), name), { throwIfNoEntry: false })?.size ?? 0,
      );
      most = Math.max(most, ...sizes);
    }
    await alone();
    expect(most).toBeLessThan(200_000);
    await ledger.end();
    expect((await start()).budgets(GRANT)[0]?.spent).toBe(0n);
  });

  it('is larger than one record where it has to be', async () => {
    const ledger = await start({ compactAfter: 4000 });
    await ledger.openGrant(GRANT, new Map([['USD.2', 1_000_000n]]));
    const made = Array.from({ length: 4200 }, (_, i) =>
      ledger.allocate(GRANT, `delegation:${String(i).padStart(200, '0')}`, new Map([['USD.2', 1n]])),
    );
    await Promise.all(made);
    await ledger.end();
    expect(statSync(join(directory(), segments().at(-1) ?? '')).size).toBeGreaterThan(1024 * 1024);
    const again = await start();
    expect(again.budgets(GRANT)[0]?.allocated).toBe(4200n);
    expect(again.budgets(`delegation:${'4199'.padStart(200, '0')}`)[0]?.amount).toBe(1n);
  });
});

describe('a crash around a snapshot', () => {
  interface Copy {
    readonly directory: string;
    readonly counter: string;
    readonly step: string;
  }

  /** Copies at every step while snapshots are made; what is spent by then is the same in all after the last epoch. */
  async function copies(): Promise<readonly Copy[]> {
    const made: Copy[] = [];
    const fault = (step: string): void => {
      const to = join(temp.path, `copy-${made.length}`);
      copyAll(directory(), to);
      made.push({ directory: to, counter: readFileSync(counter(), 'utf8'), step });
    };
    const ledger = await start({ compactAfter: 6, leases: new Map([['USD.2', 5n]]), fault });
    await ledger.openGrant(GRANT, new Map([['USD.2', 500n]]));
    for (let i = 0; i < 30; i += 1) await ledger.reserve(PAYER, [usd(2n)]).durable;
    return made;
  }

  async function openCopy(copy: Copy, name: string): Promise<Ledger> {
    const file = join(temp.path, `${name}.counter`);
    writeFileSync(file, copy.counter);
    const ledger = await openLedger({ directory: copy.directory, counter: new FileCounter(file) });
    open.push(ledger);
    return ledger;
  }

  it('at any step leaves one that can be opened', async () => {
    const made = await copies();
    expect(new Set(made.map(({ step }) => step))).toEqual(new Set(['write', 'synced', 'segment', 'removed']));
    let spent = 0n;
    for (const [i, copy] of made.entries()) {
      const ledger = await openCopy(copy, `c${i}`);
      // The first start knows its counter only once it has written so.
      if (ledger.state().fault !== undefined) expect(ledger.budgets(GRANT)).toEqual([]);
      const now = ledger.budgets(GRANT)[0]?.spent ?? 0n;
      // A lease of 5 may be forfeit in one copy and be spent in the next.
      expect(now + 5n, `${i} ${copy.step}`).toBeGreaterThanOrEqual(spent);
      spent = now;
    }
    expect(spent).toBeGreaterThanOrEqual(60n);
  });

  it('that tears it anywhere leaves what was before it in force', async () => {
    const copy = (await copies()).find(
      ({ directory: folder, step }) => step === 'synced' && segments(folder).length > 1,
    );
    if (copy === undefined) expect.unreachable();
    const newest = segments(copy.directory).at(-1) ?? '';
    const whole = writtenRecords(join(copy.directory, newest));
    const spentOf = async (octets: Uint8Array, name: string): Promise<bigint> => {
      const folder = join(temp.path, name);
      cpSync(copy.directory, folder, { recursive: true });
      writeFileSync(join(folder, newest), octets);
      const ledger = await openCopy({ ...copy, directory: folder }, name);
      expect(ledger.state().fault, name).toBeUndefined();
      return ledger.budgets(GRANT)[0]?.spent ?? -1n;
    };
    const spent = await spentOf(whole, 'whole');
    for (let end = 0; end < whole.length; end += 37) {
      expect(await spentOf(whole.subarray(0, end), `torn-${end}`), `${end}`).toBe(spent);
    }
  });

  it('is no excuse for a journal without beginning', async () => {
    const ledger = await start({ compactAfter: 6 });
    await ledger.openGrant(GRANT, new Map([['USD.2', 500n]]));
    for (let i = 0; i < 30; i += 1) await ledger.reserve(PAYER, [usd(1n)]).durable;
    await alone();
    await ledger.end();
    // The snapshot in force, torn, and nothing before it.
    const [older = '', newest = ''] = segments();
    rmSync(join(directory(), older));
    const file = join(directory(), newest);
    const whole = readFileSync(file);
    for (const end of [0, 5, 100]) {
      writeFileSync(file, whole.subarray(0, end));
      expect(await codeOfAsync(() => start()), `${end}`).toBe('ledger_unavailable');
    }
    rmSync(file);
    expect((await start()).state().fault?.code).toBe('ledger_rolled_back');
  });

  it('old segments that could not be removed are told, and removed at the next start', async () => {
    const copy = (await copies()).find(
      ({ directory: folder, step }) => step === 'synced' && segments(folder).length > 2,
    );
    if (copy === undefined) expect.unreachable();
    await openCopy(copy, 'left');
    expect(segments(copy.directory).length).toBe(2);
  });
});
