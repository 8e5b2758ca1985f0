/**
 * S8: a ledger killed at any durable step, its last writes torn, spends not one unit too many and loses no more
 * than the leases of its open epoch. A few dozen runs; AGENTKEYD_SOAK=1 makes it hundreds.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JournalReader } from '../../src/base/journal-reader.ts';
import { openLedger } from '../../src/ledger/ledger.ts';
import { FileCounter } from '../support/file-counter.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { makeTempDir } from '../support/temp-dir.ts';
import { writtenRecords } from '../support/written-records.ts';

const IS_SOAK = process.env['AGENTKEYD_SOAK'] === '1';
const RUNS = IS_SOAK ? 300 : 24;
const TIMEOUT_MS = IS_SOAK ? 30 * 60_000 : 180_000;
const RUN_MS = 60_000;
const PROGRAM = join(import.meta.dirname, 'programs', 'ledger-workload.ts');
const GRANT = 'grant:g';
const AMOUNT = 6000;
const LEASE = 20;

let temp: Awaited<ReturnType<typeof makeTempDir>>;
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(() => temp.remove());

interface Line {
  readonly t: string;
  readonly id?: string;
  readonly account?: string;
  readonly parent?: string;
  readonly child?: string;
  readonly amount?: string;
  readonly size?: number;
  readonly code?: string;
  readonly reservation?: string;
}

/** What the world knows: what was begun, and what was told to be durable. */
class World {
  readonly accounts = new Set([GRANT]);
  readonly closed = new Set<string>();
  isGranted = false;
  /** Amounts of reservations: begun, and acknowledged. */
  readonly #begun = new Map<string, { readonly amount: number; readonly account: string }>();
  readonly #done = new Set<string>();
  readonly #given = new Map<string, { readonly amount: number; readonly at: number; isDurable: boolean }>();
  /** When each operation was begun, and how many lines there were. */
  readonly #at = new Map<string, number>();
  #lines = 0;

  take(line: Line): void {
    const { t, id = '', account = '', child = '', amount = '0' } = line;
    if (t === 'granted') this.isGranted = true;
    if (t === 'allocate') this.accounts.add(child);
    if (t === 'close') this.closed.add(account);
    this.#lines += 1;
    if (t === 'reserve') {
      this.#begun.set(id, { amount: Number(amount), account });
      this.#at.set(id, this.#lines);
    }
    if (t === 'give') this.#given.set(id, { amount: Number(amount), at: this.#lines, isDurable: false });
    if (t === 'done') {
      this.#done.add(id);
      // Records are in one order: what was given back before this was begun is durable with it.
      const begunAt = this.#at.get(id) ?? 0;
      for (const given of this.#given.values()) if (given.at < begunAt) given.isDurable = true;
    }
    if (t === 'ended') for (const given of this.#given.values()) given.isDurable = true;
  }

  /** Hardware has signed for this much, in all. */
  get signed(): number {
    return [...this.#done].reduce((sum, id) => {
      const { amount = 0 } = this.#begun.get(id) ?? {};
      return sum + amount - (this.#given.get(id)?.amount ?? 0);
    }, 0);
  }

  /** What a ledger may hold for spent at most, but for leases: all that was begun, and given back for certain. */
  get begun(): number {
    return [...this.#begun].reduce((sum, [id, { amount, account }]) => {
      const given = this.#given.get(id);
      const isGiven = given?.isDurable === true && !this.closed.has(account);
      return sum + amount - (isGiven ? given.amount : 0);
    }, 0);
  }
}

/** Runs the program until it dies, and returns all that it told. */
async function run(work: object): Promise<readonly Line[]> {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(work)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), RUN_MS);
  await once(child, 'close');
  clearTimeout(timer);
  expect(err).toBe('');
  return out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

/** Tears what was written and not synced, as a power cut may. */
function tear(directory: string, lines: readonly Line[], random: SeededRandom): void {
  const newest = readdirSync(directory)
    .filter((name) => name.endsWith('.log'))
    .sort()
    .at(-1);
  const synced = lines.findLast(({ t }) => t === 'synced')?.size;
  if (newest === undefined || synced === undefined) return;
  const file = join(directory, newest);
  const size = writtenRecords(file).length;
  if (size > synced) truncateSync(file, random.integer(synced, size));
}

/** Every reservation that was said to be durable is on disk. Not so where a snapshot has replaced it. */
function requireOnDisk(directory: string, lines: readonly Line[]): void {
  const octets = new JournalReader(directory, 'ledger')
    .read(0, Infinity)
    .map((record) => Buffer.from(record).toString());
  const reserved = new Set(octets.map((text) => (JSON.parse(text) as { id?: string }).id));
  const missing = lines.filter(({ reservation }) => reservation !== undefined && !reserved.has(reservation));
  expect(missing).toEqual([]);
}

/** Kills `runs` times over fresh and continued ledgers, and holds the books against the world after each. */
async function attack(
  runs: number,
  seed: number,
  more: { readonly compactAfter?: number },
): Promise<{ kills: number; fresh: number; snapshots: number }> {
  const random = new SeededRandom(seed);
  const directory = join(temp.path, 'ledger');
  const counter = join(temp.path, 'counter');
  let world = new World();
  let lost = 0;
  let kills = 0;
  let fresh = 0;
  let snapshots = 0;
  for (let i = 0; i < runs; i += 1) {
    const children = [...world.accounts].filter((account) => account !== GRANT && !world.closed.has(account));
    const lines = await run({
      directory,
      counter,
      seed: seed * 10_000 + i,
      killAt: random.integer(1, 160),
      amount: AMOUNT,
      lease: LEASE,
      children,
      ...more,
    });
    for (const line of lines) world.take(line);
    if (!lines.some(({ t }) => t === 'ended')) kills += 1;
    tear(directory, lines, random);
    if (more.compactAfter === undefined) requireOnDisk(directory, lines);
    else snapshots += readdirSync(directory).some((name) => /-0*[1-9]\d*\.log$/.test(name)) ? 1 : 0;

    const ledger = await openLedger({
      directory,
      counter: new FileCounter(counter),
      leases: new Map([['USD.2', BigInt(LEASE)]]),
      ...more,
    });
    const { fault } = ledger.state();
    if (fault !== undefined) {
      // The very first start, killed between making the counter and knowing it: closed, with nothing to lose.
      expect({ code: fault.code, isGranted: world.isGranted }).toEqual({
        code: 'ledger_rolled_back',
        isGranted: false,
      });
    } else if (world.isGranted) {
      const free = [...world.accounts].flatMap((account) =>
        ledger.budgets(account).map((purse) => Number(purse.amount - purse.spent - purse.allocated)),
      );
      const left = free.reduce((sum, amount) => sum + amount, 0);
      expect(Math.min(...free), `run ${i}`).toBeGreaterThanOrEqual(0);
      expect(left + world.signed, `run ${i}: over-spent`).toBeLessThanOrEqual(AMOUNT);
      const missing = AMOUNT - left - world.begun - lost;
      expect(missing, `run ${i}: lost more than a lease`).toBeLessThanOrEqual(LEASE * world.accounts.size);
      lost = Math.max(lost, AMOUNT - left - world.begun);
    }
    const isOver = fault !== undefined || i % 8 === 7;
    if (isOver && fault === undefined && world.isGranted) {
      let drained = 0;
      for (const account of world.accounts) {
        const [purse] = ledger.budgets(account);
        const amount = purse === undefined ? 0n : purse.amount - purse.spent - purse.allocated;
        if (amount <= 0n || world.closed.has(account)) continue;
        const charge = { kind: 'budget', unit: 'USD.2', amount } as const;
        await ledger.reserve({ account, grantId: 'g', agentId: 'a' }, [charge]).durable;
        drained += Number(amount);
      }
      expect(world.signed + drained).toBeLessThanOrEqual(AMOUNT);
    }
    await ledger.end();
    if (isOver) {
      rmSync(directory, { recursive: true, force: true });
      rmSync(counter, { force: true });
      world = new World();
      lost = 0;
      fresh += 1;
    }
  }
  return { kills, fresh, snapshots };
}

describe('S8: kill -9 at every durable step', () => {
  it(
    'never over-spends and costs at most the open epoch’s leases',
    async () => {
      const { kills, fresh } = await attack(RUNS, 1, {});
      expect(kills).toBeGreaterThan(RUNS / 2);
      expect(fresh).toBeGreaterThanOrEqual(Math.floor(RUNS / 8));
    },
    TIMEOUT_MS,
  );

  it(
    'nor where snapshots take the place of what was before',
    async () => {
      const { kills, snapshots } = await attack(RUNS, 2, { compactAfter: 13 });
      expect(kills).toBeGreaterThan(RUNS / 2);
      expect(snapshots).toBeGreaterThan(RUNS / 3);
    },
    TIMEOUT_MS,
  );
});
