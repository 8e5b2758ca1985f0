/** S8 and DECISIONS 21 on a real TPM: no copy of the state, and no crash, gives one unit more. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import {
  copyState,
  endAbandoned,
  openCountedLedger,
  type CountedLedger,
} from '../../support/counted-ledger.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const PROGRAM = join(import.meta.dirname, 'programs/epoch-crash.ts');
const GRANT = 'grant:g';
const AMOUNT = 100n;
const payer = { account: GRANT, grantId: 'g', agentId: 'a' };
const usd = (amount: bigint) => [{ kind: 'budget', unit: 'USD.2', amount } as const];

let tpm: TestSwtpm;
let temp: Awaited<ReturnType<typeof makeTempDir>>;
const secret = randomBytes(32);

beforeEach(async () => {
  tpm = await startSwtpm();
  temp = await makeTempDir();
});
afterEach(async () => {
  await endAbandoned();
  await tpm.stop();
  await temp.remove();
});

const state = (): string => join(temp.path, 'state');

function open(
  stateDirectory = state(),
  more: Partial<Parameters<typeof openCountedLedger>[0]> = {},
): Promise<CountedLedger> {
  return openCountedLedger({
    tcti: tpm.tcti,
    secret,
    stateDirectory,
    leases: new Map([['USD.2', 10n]]),
    ...more,
  });
}

function spentOf({ ledger }: CountedLedger): bigint {
  return ledger.budgets(GRANT)[0]?.spent ?? -1n;
}

describe('S8: a state directory that is copied at every step', () => {
  it.each([
    ['a lease of 10', 10n],
    ['no lease', 0n],
  ])('and restored later gives not one unit more, or fails closed, with %s', async (_, lease) => {
    const random = new SeededRandom(Number(lease) + 3);
    const copies: string[] = [];
    const copy = (): void => {
      const to = join(temp.path, `copy-${copies.length}`);
      copyState(state(), to);
      copies.push(to);
    };
    const leases = new Map([['USD.2', lease]]);
    const now = await open(state(), { leases, fault: copy });
    await now.ledger.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    let signed = 0n;
    let [opened, closed] = [0, 0];
    for (let i = 0; i < 14; i += 1) {
      const amount = BigInt(random.integer(1, 6));
      await now.ledger.reserve(payer, usd(amount)).durable;
      signed += amount;
      // One near, one from anywhere.
      for (const from of [copies.length - 1 - random.integer(0, 4), random.integer(0, copies.length - 1)]) {
        const restored = join(temp.path, `restored-${i}-${from}-${random.integer(0, 1_000_000)}`);
        copyState(copies[Math.max(0, from)] ?? '', restored);
        const older = await open(restored, { leases });
        const { fault } = older.ledger.state();
        if (fault === undefined) {
          opened += 1;
          const [purse] = older.ledger.budgets(GRANT);
          const rest = purse === undefined ? 0n : purse.amount - purse.spent - purse.allocated;
          expect(signed + rest, `copy ${from} after ${i}`).toBeLessThanOrEqual(AMOUNT);
        } else {
          closed += 1;
          expect(['ledger_rolled_back', 'tpm_counter_foreign']).toContain(fault.code);
          expect(codeOf(() => older.ledger.reserve(payer, usd(1n)))).toBe(fault.code);
        }
        await older.abandon();
      }
    }
    await now.abandon();
    expect(opened).toBeGreaterThan(0);
    expect(closed).toBeGreaterThan(10);
  });

  it('a copy that is used after the present state went on is told at its next epoch', async () => {
    const first = await open();
    await first.ledger.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    await first.ledger.reserve(payer, usd(1n)).durable;
    copyState(state(), join(temp.path, 'copy'));
    const second = await open(join(temp.path, 'copy'));
    expect(second.ledger.state().fault).toBeUndefined();
    await first.ledger.anchor();
    expect(await codeOfAsync(() => second.ledger.reserve(payer, usd(1n)).durable)).toBe('ledger_rolled_back');
    await first.abandon();
    await second.abandon();
  });
});

describe('kill -9', () => {
  it.each([
    ['once the intent is durable, before the counter moves', 'increment', 0n],
    ['after the counter moved, before it is certified', 'incremented', 1n],
  ])('%s: the start completes it, and costs the lease at most', async (_, killAt, moved) => {
    const work = { tcti: tpm.tcti, secret: secret.toString('base64url'), stateDirectory: state(), killAt };
    const child = spawn(process.execPath, [PROGRAM, JSON.stringify(work)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    await once(child, 'close');
    expect(err).toBe('');
    expect(child.signalCode).toBe('SIGKILL');
    const epoch = BigInt(out.trim());

    const again = await open();
    expect(again.ledger.state().fault).toBeUndefined();
    expect(again.ledger.state().epoch).toBe(epoch + moved);
    expect(await again.counter.read()).toBe(epoch + moved);
    expect(spentOf(again)).toBeGreaterThanOrEqual(3n);
    expect(spentOf(again)).toBeLessThanOrEqual(3n + 10n);
    await again.ledger.reserve(payer, usd(1n)).durable;
    await again.close();
    // It ended cleanly: nothing more is lost.
    const spent = spentOf(again);
    const last = await open();
    expect(spentOf(last)).toBe(spent);
    await last.close();
  });
});

describe('the counter of an epoch', () => {
  it('lease 0: one increment for each reservation, and a crash costs nothing', async () => {
    const leases = new Map([['USD.2', 0n]]);
    const first = await open(state(), { leases });
    await first.ledger.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    // The first value after a start is passed over.
    const before = (await first.counter.read()) + 1n;
    for (let i = 0; i < 5; i += 1) await first.ledger.reserve(payer, usd(1n)).durable;
    expect(await first.counter.read()).toBe(before + 5n);
    await first.abandon();
    const again = await open(state(), { leases });
    expect(spentOf(again)).toBe(5n);
    await again.close();
  });

  it('stays where it is while evidence of it is made', async () => {
    const opened = await open();
    const { ledger, counter } = opened;
    await ledger.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    const anchors: Promise<void>[] = [];
    await ledger.certified(async ({ epoch }) => {
      anchors.push(ledger.anchor());
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect((await counter.certify(randomBytes(32))).value).toBe(BigInt(epoch));
    });
    await Promise.all(anchors);
    await opened.close();
  });

  it('that can not be read at the start stops spending, and nothing else, until it can', async () => {
    const first = await open();
    await first.ledger.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    await first.ledger.reserve(payer, usd(1n)).durable;
    await first.close();
    await tpm.kill9();
    const waiting = await open(state(), { startTimeoutMs: 0 });
    expect(codeOf(() => waiting.ledger.reserve(payer, usd(1n)))).toMatch(/^(?:ledger|tpm)_unavailable$/);
    await waiting.ledger.health.compare();
    expect(waiting.ledger.health.mayMend).toBe(true);
    await tpm.restart();
    await waiting.ledger.health.compare();
    await waiting.ledger.reserve(payer, usd(1n)).durable;
    await waiting.close();
  });
});
