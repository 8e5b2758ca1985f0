/** Where a budget went, as the journal tells it, page by page and no further back than it is kept. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Charge, Payer } from '../../../src/ledger/charge.ts';
import type { HistoryEntry } from '../../../src/ledger/history.ts';
import { openLedger, type Ledger, type LedgerOptions } from '../../../src/ledger/ledger.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const GRANT = 'grant:g';
const CHILD = 'delegation:c';
const ROOT = { account: GRANT, grantId: 'g', agentId: 'a' };
const usd = (amount: bigint): Charge => ({ kind: 'budget', unit: 'USD.2', amount });
const twice = (per: 'grant' | 'agent'): Charge => ({
  ...{ kind: 'limit', policy: `pay-${per}`, per, window: 'day', limit: 2n, unit: 'uses.0', amount: 1n },
});

let temp: Awaited<ReturnType<typeof makeTempDir>>;
let now = 1_700_000_000_000;
const open: Ledger[] = [];
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(async () => {
  for (const ledger of open.splice(0)) await ledger.end().catch(() => undefined);
  await temp.remove();
});

async function start(more: Partial<LedgerOptions> = {}): Promise<Ledger> {
  const ledger = await openLedger({
    ...{ directory: temp.path, counter: undefined, now: () => (now += 1) },
    ...more,
  });
  open.push(ledger);
  return ledger;
}

async function funded(more: Partial<LedgerOptions> = {}): Promise<Ledger> {
  const ledger = await start(more);
  await ledger.openGrant(GRANT, new Map([['USD.2', 1000n]]));
  return ledger;
}

/** All pages of this size, the newest first. */
async function all(ledger: Ledger, payer: Payer = ROOT, limit = 500): Promise<readonly HistoryEntry[]> {
  const { account, agentId, grantId } = payer;
  const entries: HistoryEntry[] = [];
  let before: number | undefined;
  do {
    const page = await ledger.history({ account, agentId, grantId, before, limit });
    expect(page.entries.length).toBeLessThanOrEqual(limit);
    entries.push(...page.entries);
    before = page.next;
  } while (before !== undefined);
  return entries;
}

const told = (entries: readonly HistoryEntry[]) =>
  entries.map(({ event, amounts }) => [event, ...amounts.map(([unit, amount]) => `${amount} ${unit}`)]);

describe('the history of a budget', () => {
  it('tells everything that changed it, by which call, the newest first', async () => {
    const ledger = await funded();
    const call = 'http-message POST https://bank.example/pay';
    const committed = ledger.reserve({ ...ROOT, call }, [usd(30n), twice('agent')]);
    await committed.durable;
    committed.commit();
    const released = ledger.reserve(ROOT, [usd(20n)]);
    await released.durable;
    released.release();
    await ledger.settle(committed.id, new Map([['USD.2', 12n]]));
    await ledger.allocate(GRANT, CHILD, new Map([['USD.2', 100n]]));
    await ledger.topUp(CHILD, new Map([['USD.2', 50n]]));
    const child = { account: CHILD, grantId: 'g', agentId: 'c' };
    await ledger.reserve(child, [usd(40n)]).durable;
    await ledger.close(CHILD, now);
    await ledger.sweep();

    const entries = await all(ledger);
    expect(told(entries)).toEqual([
      ['returned', '110 USD.2'],
      ['allocated', '50 USD.2'],
      ['allocated', '100 USD.2'],
      ['settled', '18 USD.2'],
      ['released', '20 USD.2'],
      ['reserved', '20 USD.2'],
      ['reserved', '30 USD.2'],
      ['ceiling', '1000 USD.2'],
    ]);
    expect(entries.at(-2)).toMatchObject({
      reservation: committed.id,
      agentId: 'a',
      call,
      limits: [{ policy: 'pay-agent', window: 'day', unit: 'uses.0', amount: 1n }],
    });
    expect(entries[3]).toMatchObject({ reservation: committed.id });
    expect(entries[0]).toMatchObject({ other: CHILD });
    expect(told(await all(ledger, child))).toEqual([
      ['closed'],
      ['reserved', '40 USD.2'],
      ['topped-up', '50 USD.2'],
      ['received', '100 USD.2'],
    ]);
    const times = entries.map(({ at }) => at);
    expect(times).toEqual(times.toSorted((left, right) => right - left));
  });

  it('is the same in pages of any size', async () => {
    const ledger = await funded();
    for (let i = 0; i < 25; i += 1) await ledger.reserve(ROOT, [usd(1n)]).durable;
    const whole = await all(ledger);
    expect(whole.length).toBe(26);
    for (const limit of [1, 2, 7, 25, 26]) expect(await all(ledger, ROOT, limit)).toEqual(whole);
  });

  it('says nothing of what another account or agent did', async () => {
    const ledger = await funded();
    await ledger.openGrant('grant:other', new Map([['USD.2', 5n]]));
    await ledger.reserve({ account: 'grant:other', grantId: 'other', agentId: 'o' }, [usd(5n)]).durable;
    await ledger.allocate(GRANT, CHILD, new Map([['USD.2', 9n]]));
    await ledger.reserve({ account: CHILD, grantId: 'g', agentId: 'c' }, [twice('grant')]).durable;
    expect(told(await all(ledger))).toEqual([
      ['allocated', '9 USD.2'],
      ['ceiling', '1000 USD.2'],
    ]);
    expect(told(await all(ledger, { account: CHILD, grantId: 'g', agentId: 'c' }))).toEqual([
      ['reserved'],
      ['received', '9 USD.2'],
    ]);
  });

  it('tells what a crash cost', async () => {
    await funded({ leases: new Map([['USD.2', 70n]]) }).then(
      (ledger) => ledger.reserve(ROOT, [usd(1n)]).durable,
    );
    expect(told(await all(await start()))[0]).toEqual(['forfeited', '70 USD.2']);
  });

  it('goes back to the snapshot before the last at least, and a page looks at a bounded part of it', async () => {
    const ledger = await funded({ compactAfter: 400, leases: new Map([['USD.2', 1000n]]) });
    for (let i = 0; i < 950; i += 1) {
      const reservation = ledger.reserve(ROOT, [usd(1n)]);
      await reservation.durable;
      reservation.release();
    }
    const entries = await all(ledger, ROOT, 100);
    expect(entries.length).toBeGreaterThan(400);
    expect(entries.length).toBeLessThan(1300);
  });

  it('what is under way is told apart until it is committed or released', async () => {
    const ledger = await funded();
    const [first, second] = [ledger.reserve(ROOT, [usd(30n)]), ledger.reserve(ROOT, [usd(5n)])];
    await Promise.all([first.durable, second.durable]);
    expect(ledger.reserved(GRANT)).toEqual(new Map([['USD.2', 35n]]));
    first.commit();
    expect(ledger.reserved(GRANT)).toEqual(new Map([['USD.2', 5n]]));
    second.release();
    expect(ledger.reserved(GRANT)).toEqual(new Map());
    expect(ledger.budgets(GRANT)[0]?.spent).toBe(30n);
  });

  it('S20: leaves turns to everybody else while it is read, and many pages as many as one', async () => {
    const ledger = await start();
    await ledger.openGrant(GRANT, new Map([['USD.2', 1_000_000n]]));
    await Promise.all(Array.from({ length: 2000 }, () => ledger.reserve(ROOT, [usd(1n)]).durable));
    const query = { account: 'delegation:none', grantId: 'none', agentId: 'none', limit: 100 };
    let [turns, isRead] = [0, false];
    const count = (): void => {
      turns += 1;
      if (!isRead) setImmediate(count);
    };
    setImmediate(count);
    await Promise.all([ledger.history(query), ledger.history(query), ledger.history(query)]);
    isRead = true;
    expect(turns).toBeGreaterThanOrEqual(3 * 7);
  });
});
