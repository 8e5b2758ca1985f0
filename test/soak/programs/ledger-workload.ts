/**
 * A daemon's ledger under random work, until it kills itself at a given durable step. What it begins and what it
 * was told to be durable it writes to standard output at once, a JSON line each.
 */
import { writeSync } from 'node:fs';
import { openLedger } from '../../../src/ledger/ledger.ts';
import { asKeydError } from '../../../src/wire/problem.ts';
import { FileCounter } from '../../support/file-counter.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

interface Work {
  readonly directory: string;
  readonly counter: string;
  readonly seed: number;
  readonly killAt: number;
  readonly amount: number;
  readonly lease: number;
  /** Accounts of sub-agents that are open. */
  readonly children: readonly string[];
  readonly compactAfter?: number;
}

const { directory, counter, seed, killAt, amount, lease, children, compactAfter } = JSON.parse(
  process.argv[2] ?? '{}',
) as Work;
const random = new SeededRandom(seed);
const GRANT = 'grant:g';
const OPERATIONS = 400;
const CALLERS = 12;

let steps = 0;
const tell = (line: object): void => {
  writeSync(1, `${JSON.stringify(line)}\n`);
};
const fault = (step: string, size?: number): void => {
  if (step === 'synced' || step === 'segment') tell({ t: 'synced', size });
  steps += 1;
  if (steps === killAt) process.kill(process.pid, 'SIGKILL');
};

tell({ t: 'open' });
const ledger = await openLedger({
  directory,
  counter: new FileCounter(counter, fault),
  leases: new Map([['USD.2', BigInt(lease)]]),
  fault,
  ...(compactAfter === undefined ? {} : { compactAfter }),
});
const { fault: broken } = ledger.state();
if (broken !== undefined) tell({ t: 'fault', code: broken.code });
else await work();
process.exit(0);

async function work(): Promise<void> {
  tell({ t: 'opened' });
  await ledger.openGrant(GRANT, new Map([['USD.2', BigInt(amount)]]));
  tell({ t: 'granted' });
  const accounts = [GRANT, ...children];
  const free = (account: string): bigint => {
    const [purse] = ledger.budgets(account);
    return purse === undefined ? 0n : purse.amount - purse.spent - purse.allocated;
  };
  let left = OPERATIONS;
  let number = 0;
  const once = async (): Promise<void> => {
    const account = random.pick(accounts);
    const dice = random.next();
    const id = `${seed}-${(number += 1)}`;
    if (dice < 0.1 && accounts.length < 6) {
      const share = free(account) / BigInt(random.integer(2, 6));
      if (share < 1n) return;
      const child = `delegation:${id}`;
      tell({ t: 'allocate', id, parent: account, child, amount: String(share) });
      await ledger.allocate(account, child, new Map([['USD.2', share]]));
      tell({ t: 'done', id });
      accounts.push(child);
      return;
    }
    if (dice < 0.15 && account !== GRANT) {
      accounts.splice(accounts.indexOf(account), 1);
      tell({ t: 'close', id, account });
      await ledger.close(account, Date.now());
      await ledger.sweep();
      tell({ t: 'done', id });
      return;
    }
    const cost = BigInt(random.integer(1, 9));
    tell({ t: 'reserve', id, account, amount: String(cost) });
    const reservation = ledger.reserve({ account, grantId: 'g', agentId: 'a' }, [
      { kind: 'budget', unit: 'USD.2', amount: cost },
    ]);
    await reservation.durable;
    tell({ t: 'done', id, reservation: reservation.id });
    if (random.chance(0.15)) {
      tell({ t: 'give', id, amount: String(cost) });
      reservation.release();
    } else if (random.chance(0.2)) {
      tell({ t: 'give', id, amount: String(cost - 1n) });
      await ledger.settle(reservation.id, new Map([['USD.2', 1n]]));
    }
  };
  const caller = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      try {
        await once();
      } catch (thrown) {
        const { code } = asKeydError(thrown);
        if (code !== 'budget_exceeded') tell({ t: 'refused', code });
      }
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  tell({ t: 'end' });
  await ledger.end();
  tell({ t: 'ended' });
}
