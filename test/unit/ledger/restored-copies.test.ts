/**
 * S8: the ledger's directory is copied at every durable step, and every copy is restored later. The counter is
 * outside of it and only goes up. A copy either fails closed or gives nothing that was spent since.
 */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLedger, type Ledger, type LedgerOptions } from '../../../src/ledger/ledger.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf } from '../../support/code-of.ts';
import { copyAll } from '../../support/copy-all.ts';
import { FileCounter } from '../../support/file-counter.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

const GRANT = 'grant:g';
const CHILD = 'delegation:c';
const AMOUNT = 300n;
const RESTORES = 120;

let temp: Awaited<ReturnType<typeof makeTempDir>>;
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(async () => {
  for (const ledger of crashed.splice(0)) await ledger.end().catch(() => undefined);
  await temp.remove();
});

/** Ledgers that were left as a crash leaves them. */
const crashed: Ledger[] = [];

/** The state at one step, and what hardware had signed for by then. */
interface Copy {
  readonly directory: string;
  readonly counter: string;
  readonly signed: bigint;
}

async function copiesOf(seed: number, options: Partial<LedgerOptions>): Promise<readonly Copy[]> {
  const random = new SeededRandom(seed);
  const directory = join(temp.path, 'ledger');
  const counter = join(temp.path, 'counter');
  const copies: Copy[] = [];
  let signed = 0n;
  const copy = (): void => {
    const to = join(temp.path, `copy-${copies.length}`);
    mkdirSync(directory, { recursive: true });
    copyAll(directory, to);
    copies.push({ directory: to, counter: readFileSync(counter, 'utf8'), signed });
  };
  const charge = (amount: bigint) => [{ kind: 'budget', unit: 'USD.2', amount } as const];
  for (let start = 0; start < 2; start += 1) {
    const ledger = await openLedger({
      directory,
      counter: new FileCounter(counter, copy),
      fault: copy,
      ...options,
    });
    expect(ledger.state().fault).toBeUndefined();
    await ledger.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    if (start === 0) await ledger.allocate(GRANT, CHILD, new Map([['USD.2', 90n]]));
    for (let i = 0; i < 12; i += 1) {
      await Promise.all(
        Array.from({ length: random.integer(1, 3) }, async () => {
          const account = random.chance(0.3) ? CHILD : GRANT;
          const amount = BigInt(random.integer(1, 4));
          const payer = { account, grantId: 'g', agentId: 'a' };
          const reservation = ledger.reserve(payer, charge(amount));
          await reservation.durable;
          if (random.chance(0.2)) reservation.release();
          else signed += amount;
        }),
      );
    }
    if (start === 1) {
      await ledger.close(CHILD, Date.now());
      await ledger.sweep();
      await ledger.reserve({ account: GRANT, grantId: 'g', agentId: 'a' }, charge(5n)).durable;
      signed += 5n;
    }
    // The first start ends cleanly, the others do not.
    if (start === 0) await ledger.end();
    else crashed.push(ledger);
  }
  return copies;
}

/** Restores copy `from` at the time of copy `at`, and spends all it gives. */
async function restore(from: Copy, at: Copy, name: string): Promise<bigint | 'closed'> {
  const directory = join(temp.path, name);
  const counter = join(temp.path, `${name}.counter`);
  cpSync(from.directory, directory, { recursive: true });
  writeFileSync(counter, at.counter);
  const ledger = await openLedger({ directory, counter: new FileCounter(counter) });
  try {
    const { fault } = ledger.state();
    if (fault !== undefined) {
      expect(fault.code).toBe('ledger_rolled_back');
      expect(codeOf(() => ledger.reserve({ account: GRANT, grantId: 'g', agentId: 'a' }, []))).toBe(
        'ledger_rolled_back',
      );
      return 'closed';
    }
    let spent = 0n;
    for (const account of [GRANT, CHILD]) {
      for (const { amount, spent: gone, allocated } of ledger.budgets(account)) {
        const rest = amount - gone - allocated;
        const charge = { kind: 'budget', unit: 'USD.2', amount: rest } as const;
        if (
          rest <= 0n ||
          codeOf(() => ledger.reserve({ account, grantId: 'g', agentId: 'a' }, [charge])) !== undefined
        )
          continue;
        spent += rest;
      }
    }
    return spent;
  } finally {
    await ledger.end();
  }
}

describe.each([
  ['a lease of 20', new Map([['USD.2', 20n]]), 1_000_000],
  ['a lease of 1', new Map([['USD.2', 1n]]), 1_000_000],
  ['no lease', new Map([['USD.2', 0n]]), 1_000_000],
  ['a lease of 20 and a snapshot every few records', new Map([['USD.2', 20n]]), 7],
])('S8: copies restored, with %s', (_, leases, compactAfter) => {
  it('give not one unit more, or fail closed', async () => {
    const copies = await copiesOf(5, { leases, compactAfter });
    expect(copies.length).toBeGreaterThan(60);
    const random = new SeededRandom(6);
    let [open, closed] = [0, 0];
    for (let i = 0; i < RESTORES; i += 1) {
      const from = random.integer(0, copies.length - 1);
      // Near ones are of the same epoch; far ones are not.
      const at =
        i % 2 === 0
          ? Math.min(copies.length - 1, from + random.integer(0, 6))
          : random.integer(from, copies.length - 1);
      const [older, now] = [copies[from], copies[at]];
      if (older === undefined || now === undefined) continue;
      const spent = await restore(older, now, `restore-${i}`);
      if (spent === 'closed') {
        closed += 1;
        expect(now.counter, `${from} at ${at}`).not.toBe(older.counter);
      } else {
        open += 1;
        expect(now.signed + spent, `${from} at ${at}`).toBeLessThanOrEqual(AMOUNT);
      }
    }
    expect(open).toBeGreaterThan(10);
    expect(closed).toBeGreaterThan(10);
  });
});

describe('S8: two branches of one state', () => {
  const payer = { account: GRANT, grantId: 'g', agentId: 'a' };
  const usd = (amount: bigint) => [{ kind: 'budget', unit: 'USD.2', amount } as const];
  const at = (name: string): string => join(temp.path, name);
  const open = async (name: string, fault?: (step: string) => void): Promise<Ledger> => {
    const ledger = await openLedger({
      directory: at(name),
      counter: new FileCounter(at('counter'), fault),
      leases: new Map([['USD.2', 20n]]),
    });
    crashed.push(ledger);
    return ledger;
  };

  it('the intent that one left when it was killed is not made good by what the other did', async () => {
    const first = await open('a');
    await first.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    await first.end();
    cpSync(at('a'), at('b'), { recursive: true });
    // One is killed once its intent is durable, before the counter moves.
    const killed = await open('b', (step) => {
      if (step === 'advance') throw new Error('killed');
    });
    await expect(killed.reserve(payer, usd(1n)).durable).rejects.toThrow('killed');
    // The other spends most of it, in the first epoch that it can.
    await (await open('a')).reserve(payer, usd(200n)).durable;
    cpSync(at('b'), at('restored'), { recursive: true });
    expect((await open('restored')).state().fault?.code).toBe('ledger_rolled_back');
  });

  it('the one that finds the counter moved by the other spends nothing any more', async () => {
    const first = await open('a');
    await first.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    await first.reserve(payer, usd(1n)).durable;
    cpSync(at('a'), at('b'), { recursive: true });
    const second = await open('b');
    await second.reserve(payer, usd(1n)).durable;
    for (let i = 0; i < 2; i += 1) {
      await expect(first.anchor()).rejects.toMatchObject({ code: 'ledger_rolled_back' });
      expect(codeOf(() => first.reserve(payer, usd(1n)))).toBe('ledger_rolled_back');
    }
  });

  it('the one that comes late spends nothing after a restart either', async () => {
    const first = await open('a');
    await first.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    await first.reserve(payer, usd(1n)).durable;
    cpSync(at('a'), at('b'), { recursive: true });
    const late = await open('b');
    await first.reserve(payer, usd(200n)).durable;
    await expect(late.reserve(payer, usd(200n)).durable).rejects.toMatchObject({
      code: 'ledger_rolled_back',
    });
    expect((await open('b')).state().fault?.code).toBe('ledger_rolled_back');
  });

  it('while it is in doubt whether the counter moved, no lease is spent', async () => {
    let failures = 0;
    const first = await open('a', (step) => {
      if (step === 'advanced' && failures-- > 0) throw new KeydError('tpm_unavailable', 'it did not answer');
    });
    await first.openGrant(GRANT, new Map([['USD.2', AMOUNT]]));
    await first.reserve(payer, usd(1n)).durable;
    const { epoch } = first.state();
    failures = 1;
    await expect(first.anchor()).rejects.toMatchObject({ code: 'tpm_unavailable' });
    await first.reserve(payer, usd(1n)).durable;
    expect(first.state().epoch).toBeGreaterThan(epoch);
  });
});
