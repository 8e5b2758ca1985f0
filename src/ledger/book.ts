/**
 * The state of all purses, as the records say it. `apply` is the only thing that changes it, at run time and at
 * replay, so that both come to the same.
 */
import { KeydError } from '../wire/problem.ts';
import type { BudgetState } from './charge.ts';
import { budgetKey, limitEndsAtMs } from './purse-key.ts';
import { entriesOf, type Amounts, type LedgerRecord } from './records.ts';

export interface Purse {
  amount: bigint;
  /** Gone, or promised to a signature that may exist: a crash makes no difference between the two. */
  spent: bigint;
  allocated: bigint;
  /** Purse of the parent, for what is allocated. */
  readonly parent: string | undefined;
}

export interface Epoch {
  readonly number: bigint;
  /** What may be spent in it, by purse, and what has been. */
  readonly leases: ReadonlyMap<string, bigint>;
  readonly used: Map<string, bigint>;
}

/** Reservations that can still be settled lower; older ones are spent for good. */
const MAX_SETTLEABLE = 10_000;

export class Book {
  readonly purses = new Map<string, Purse>();
  /** Parents of accounts, and when closed ones give back what is left. */
  readonly parents = new Map<string, string>();
  readonly closing = new Map<string, number>();
  /** What each took, as its record says it. */
  readonly reservations = new Map<string, Amounts>();
  /** The oldest reservation that is left, over and over: from the first on, a walk would pass all that have gone. */
  readonly #oldest = this.reservations.keys();
  epoch: Epoch = { number: 0n, leases: new Map(), used: new Map() };
  /** An intent whose epoch has not been seen to begin. */
  intent: { readonly number: bigint; readonly leases: ReadonlyMap<string, bigint> } | undefined;
  /** The latest time any record bears: windows never go back behind it. */
  latestMs = 0;

  free(key: string): bigint {
    const purse = this.purses.get(key);
    return purse === undefined ? 0n : purse.amount - purse.spent - purse.allocated;
  }

  /** What the epoch's lease still covers. */
  leased(key: string): bigint {
    return (this.epoch.leases.get(key) ?? 0n) - (this.epoch.used.get(key) ?? 0n);
  }

  budgets(account: string): readonly BudgetState[] {
    const prefix = `${account}|`;
    return [...this.purses]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, { amount, spent, allocated }]) => ({
        unit: key.slice(prefix.length),
        amount,
        spent,
        allocated,
      }));
  }

  apply(record: LedgerRecord): void {
    this.latestMs = Math.max(this.latestMs, record.at);
    switch (record.t) {
      case 'grant':
        for (const [unit, amount] of entriesOf(record.budgets))
          this.#open(budgetKey(record.account, unit), amount);
        return;
      case 'allocate':
      case 'top-up':
        this.parents.set(record.child, record.parent);
        for (const [unit, amount] of entriesOf(record.budgets))
          this.#allocate(record.parent, record.child, unit, amount);
        return;
      case 'close':
        this.closing.set(record.account, record.releaseAt);
        return;
      case 'return':
        this.#return(record.account);
        return;
      case 'reserve':
        for (const [key, amount] of entriesOf(record.limits ?? {})) this.#open(key, amount);
        this.#take(record.id, record.take);
        return;
      case 'release':
      case 'settle':
        this.#give(record.id, entriesOf(record.give));
        return;
      case 'intent':
        this.intent = { number: BigInt(record.epoch), leases: new Map(entriesOf(record.leases)) };
        return;
      case 'epoch':
        this.#begin(BigInt(record.epoch));
        return;
      case 'forfeit':
        for (const [key, amount] of entriesOf(record.take)) this.#purse(key).spent += amount;
        this.#begin(BigInt(record.epoch), true);
        return;
      case 'accepted':
        this.#begin(BigInt(record.epoch), true);
        return;
      case 'snapshot':
      case 'part':
        // What this book holds already; `restore` of snapshot.ts reads one into an empty book.
        return;
    }
  }

  /** Forgets windows that are over. */
  prune(nowMs: number): void {
    for (const key of this.purses.keys()) {
      if (key.startsWith('limit:') && limitEndsAtMs(key) <= nowMs) this.purses.delete(key);
    }
  }

  #open(key: string, amount: bigint, parent?: string): void {
    const purse = this.purses.get(key);
    if (purse === undefined) this.purses.set(key, { amount, spent: 0n, allocated: 0n, parent });
    else purse.amount = amount;
  }

  #allocate(parent: string, child: string, unit: string, amount: bigint): void {
    const from = budgetKey(parent, unit);
    const to = budgetKey(child, unit);
    this.#purse(from).allocated += amount;
    this.#open(to, (this.purses.get(to)?.amount ?? 0n) + amount, from);
  }

  #return(account: string): void {
    const prefix = `${account}|`;
    for (const [key, purse] of this.purses) {
      if (!key.startsWith(prefix)) continue;
      if (purse.parent !== undefined) {
        const parent = this.#purse(purse.parent);
        // What was spent below stays spent above.
        parent.allocated -= purse.amount;
        parent.spent += purse.spent + purse.allocated;
      }
      this.purses.delete(key);
    }
    this.closing.delete(account);
    this.parents.delete(account);
  }

  #take(id: string, amounts: Amounts): void {
    for (const [key, amount] of entriesOf(amounts)) {
      this.#purse(key).spent += amount;
      this.epoch.used.set(key, (this.epoch.used.get(key) ?? 0n) + amount);
    }
    this.reservations.set(id, amounts);
    if (this.reservations.size > MAX_SETTLEABLE) {
      const { value, done } = this.#oldest.next();
      if (done !== true) this.reservations.delete(value);
    }
  }

  #give(id: string, amounts: readonly (readonly [string, bigint])[]): void {
    for (const [key, amount] of amounts) {
      const purse = this.purses.get(key);
      // Its account may have been closed, its window over: then nobody is left to have it.
      if (purse !== undefined) purse.spent -= amount;
    }
    this.reservations.delete(id);
  }

  #begin(number: bigint, isWithoutLeases = false): void {
    const leases = isWithoutLeases
      ? new Map<string, bigint>()
      : (this.intent?.leases ?? new Map<string, bigint>());
    this.epoch = { number, leases, used: new Map() };
    this.intent = undefined;
  }

  #purse(key: string): Purse {
    const purse = this.purses.get(key);
    if (purse === undefined)
      throw new KeydError('ledger_unavailable', `the ledger speaks of ${key}, which was never opened`);
    return purse;
  }
}
