/**
 * Budgets and limits, exact and durable. One writer, in memory first, so that a decision and its reservation are
 * one step; a reservation counts as spent from the moment it is made, so that a crash can only lose, never gain.
 */
import { randomUUID } from 'node:crypto';
import { openJournal, type Journal } from '../base/journal.ts';
import type { AnchoredHeads } from '../wire/audit-anchor.ts';
import { KeydError } from '../wire/problem.ts';
import { Book } from './book.ts';
import type { BudgetState, Charge, Payer, Reservation } from './charge.ts';
import { Compaction, findBase } from './compaction.ts';
import { Epochs, type AuditHead } from './epochs.ts';
import { requireCovered } from './covered.ts';
import { HashChain } from './hash-chain.ts';
import { LedgerHealth } from './health.ts';
import { readHistory, type HistoryPage, type HistoryQuery } from './history.ts';
import { leaseOf } from './lease.ts';
import { budgetKey, limitKey } from './purse-key.ts';
import {
  amountsOf,
  decodeRecord,
  encodeRecord,
  entriesOf,
  LEDGER_JOURNAL,
  type LedgerRecord,
} from './records.ts';
import { restore, returnRecord } from './snapshot.ts';
import type { LedgerOptions, LedgerState } from './ledger-options.ts';
import { UnderWay } from './under-way.ts';

export type { LedgerOptions, LedgerState } from './ledger-options.ts';

/** Small, because a page of history reads a whole one. */
const SEGMENT_OCTETS = 1024 * 1024;
const NO_AUDIT: AuditHead = { root: '', size: 0 };

/** @throws KeydError `ledger_unavailable` for a journal that can not be read */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const book = new Book();
  const chain = new HashChain();
  const base = findBase(options.directory);
  const journal = await openJournal({
    directory: options.directory,
    name: LEDGER_JOURNAL,
    maxSegmentOctets: SEGMENT_OCTETS,
    failure: 'ledger_unavailable',
    from: base.first,
    ...(options.fault === undefined ? {} : { fault: options.fault }),
    onRecord: (octets, index) => {
      const record = decodeRecord(octets);
      if (index < base.end) {
        if (record.t === 'snapshot') chain.set(record.chain);
        restore(book, record);
      } else {
        book.apply(record);
      }
      chain.add(octets);
    },
  });
  const compaction = new Compaction(options, journal, base);
  // What a crash kept from being removed.
  await compaction.removeOld();
  const ledger = new Ledger(options, { journal, book, chain, compaction });
  await ledger.health.compareWithin(options.startTimeoutMs);
  return ledger;
}

interface Opened {
  readonly journal: Journal;
  readonly book: Book;
  readonly chain: HashChain;
  readonly compaction: Compaction;
}

export class Ledger {
  /** Whether anything can be spent. */
  readonly health: LedgerHealth;
  readonly #journal: Journal;
  readonly #book: Book;
  readonly #chain: HashChain;
  readonly #compaction: Compaction;
  readonly #epochs: Epochs;
  readonly #directory: string;
  readonly #now: () => number;
  readonly #underWay = new UnderWay();
  #pages: Promise<unknown> = Promise.resolve();

  constructor(options: LedgerOptions, { journal, book, chain, compaction }: Opened) {
    this.#journal = journal;
    this.#book = book;
    this.#chain = chain;
    this.#compaction = compaction;
    this.#directory = options.directory;
    this.#now = options.now ?? Date.now;
    this.#epochs = new Epochs({
      book,
      write: (record) => this.#write(record),
      ledgerHead: () => chain.head(),
      auditHead: options.auditHead ?? (() => NO_AUDIT),
      counter: options.counter,
      lease: (key, amount) => leaseOf(options.leases, key, amount),
      now: () => this.#time(),
      onAnchor: options.onAnchor ?? (() => undefined),
      onFailure: (error) => {
        this.health.learn(error);
      },
    });
    this.health = new LedgerHealth(() => this.#epochs.recover());
  }

  /**
   * Runs `work` with the heads of both logs while the counter stays where it is; what the ledger's is over is durable.
   * @throws KeydError `ledger_*`, `tpm_*`, and what `work` throws
   */
  certified<T>(work: (heads: AnchoredHeads) => Promise<T>): Promise<T> {
    this.health.require();
    return this.#epochs.hold(async (heads) => {
      await this.#journal.flush();
      return work(heads);
    });
  }

  state(): LedgerState {
    return { epoch: this.#book.epoch.number, head: this.#chain.head(), fault: this.health.fault };
  }

  budgets(account: string): readonly BudgetState[] {
    return this.#book.budgets(account);
  }

  /** What signatures under way hold of this account, by unit: part of what is spent, and may yet come back. */
  reserved(account: string): ReadonlyMap<string, bigint> {
    return this.#underWay.of(account);
  }

  /** What became of an account, the newest first, a page at a time. @throws KeydError `ledger_unavailable` */
  async history(query: HistoryQuery): Promise<HistoryPage> {
    // One page after the other, so that many who ask take no more of a turn than one.
    const page = this.#pages.then(async () => {
      const { length } = this.#journal;
      await this.#journal.flush();
      return readHistory(this.#directory, length, query);
    });
    this.#pages = page.catch(() => undefined);
    return page;
  }

  /** What the present epoch may still cost this account at a crash, by unit. */
  leases(account: string): ReadonlyMap<string, bigint> {
    return new Map(
      this.#book
        .budgets(account)
        .map(({ unit }) => [unit, this.#book.leased(budgetKey(account, unit))] as const),
    );
  }

  /**
   * Takes all charges at once, before it returns. `durable` of what it gives is awaited before hardware is asked.
   * @throws KeydError `budget_exceeded`, `limit_reached`, `ledger_rolled_back`, `ledger_unavailable`
   */
  reserve(payer: Payer, charges: readonly Charge[]): Reservation {
    this.health.require();
    const at = this.#time();
    const limits = new Map<string, bigint>();
    const take = new Map<string, bigint>();
    for (const charge of charges) {
      const key =
        charge.kind === 'limit' ? limitKey(charge, payer, at) : budgetKey(payer.account, charge.unit);
      if (charge.kind === 'limit' && this.#book.purses.get(key)?.amount !== charge.limit)
        limits.set(key, charge.limit);
      take.set(key, (take.get(key) ?? 0n) + charge.amount);
      requireCovered(this.#book, charge, key, limits.get(key), take.get(key) ?? 0n);
    }
    const id = randomUUID();
    const isLeased =
      !this.#epochs.isOpening && [...take].every(([key, amount]) => this.#book.leased(key) >= amount);
    const written = this.#write({
      t: 'reserve',
      at,
      id,
      take: amountsOf(take),
      ...(limits.size === 0 ? {} : { limits: amountsOf(limits) }),
      agent: payer.agentId,
      ...(payer.call === undefined ? {} : { call: payer.call }),
    });
    this.#underWay.begin(id, take);
    const durable = isLeased
      ? written
      : Promise.all([written, this.#epochs.require(take)]).then(() => undefined);
    // Whoever waits is told; a reservation that is released before may have nobody waiting.
    durable.catch(() => undefined);
    return {
      id,
      charges,
      durable,
      commit: () => {
        this.#underWay.end(id);
      },
      release: () => {
        this.#underWay.end(id);
        this.#give('release', id, take);
      },
    };
  }

  /**
   * Gives back what a signature did not cost.
   * @param costs what it did cost, by unit
   * @throws KeydError `not_found` for what was settled before, is unknown or too old; `budget_exceeded` for a
   *   cost above what was reserved, `conflict` for a unit that it has nothing of
   */
  async settle(id: string, costs: ReadonlyMap<string, bigint>): Promise<void> {
    const taken = this.#book.reservations.get(id);
    if (taken === undefined)
      throw new KeydError('not_found', 'there is no reservation that could still be settled by this id');
    const give = new Map<string, bigint>();
    const units = new Set<string>();
    for (const [key, amount] of entriesOf(taken)) {
      const unit = key.slice(key.lastIndexOf('|') + 1);
      if (!key.startsWith('limit:')) units.add(unit);
      const cost = key.startsWith('limit:') ? amount : (costs.get(unit) ?? amount);
      if (cost < 0n || cost > amount)
        throw new KeydError('budget_exceeded', 'a settlement can only lower what was reserved');
      if (cost < amount) give.set(key, amount - cost);
    }
    const foreign = [...costs.keys()].find((unit) => !units.has(unit));
    if (foreign !== undefined) throw new KeydError('conflict', `the reservation has nothing in ${foreign}`);
    await this.#write({ t: 'settle', at: this.#time(), id, give: amountsOf(give) });
  }

  /**
   * The ceilings of a grant: set when it is first seen, and whenever the issuer says otherwise. A unit that is not
   * named has none. @throws KeydError `ledger_unavailable`
   */
  async openGrant(account: string, budgets: ReadonlyMap<string, bigint>): Promise<void> {
    const known = new Map(this.#book.budgets(account).map(({ unit, amount }) => [unit, amount] as const));
    const wanted = new Map([...[...known.keys()].map((unit) => [unit, 0n] as const), ...budgets]);
    const isSame =
      known.size === wanted.size && [...wanted].every(([unit, amount]) => known.get(unit) === amount);
    if (isSame) return;
    await this.#write({ t: 'grant', at: this.#time(), account, budgets: amountsOf(wanted) });
  }

  /**
   * Purses for a child, out of its parent's free balances: all or none, in memory before it returns.
   * @throws KeydError `budget_exceeded`, `ledger_*`
   */
  allocate(parent: string, child: string, budgets: ReadonlyMap<string, bigint>): Promise<void> {
    return this.#allocate('allocate', parent, child, budgets);
  }

  /** More for a child that has purses. @throws KeydError `not_found`, `budget_exceeded`, `ledger_*` */
  topUp(child: string, budgets: ReadonlyMap<string, bigint>): Promise<void> {
    const parent = this.#book.parents.get(child);
    if (parent === undefined)
      throw new KeydError('not_found', 'only a sub-agent’s budget comes from a parent here');
    return this.#allocate('top-up', parent, child, budgets);
  }

  /** Nothing is spent from the account any more; what is left goes back to its parent at `releaseAtMs` (S6). */
  async close(account: string, releaseAtMs: number): Promise<void> {
    if (!this.#book.parents.has(account)) return;
    await this.#write({ t: 'close', at: this.#time(), account, releaseAt: Math.ceil(releaseAtMs) });
  }

  /** Gives back what closed accounts have left, deepest first, and forgets windows that are over. */
  async sweep(): Promise<void> {
    const now = this.#time();
    const due = [...this.#book.closing].filter(([, at]) => at <= now).map(([account]) => account);
    const hasChildren = (account: string): boolean => [...this.#book.parents.values()].includes(account);
    for (const account of due) {
      if (!hasChildren(account)) await this.#write(returnRecord(this.#book, account, now));
    }
    this.#book.prune(now);
  }

  /** Anchors both logs by a new value of the counter. @throws KeydError those of the TPM, `ledger_*` */
  async anchor(): Promise<void> {
    this.health.require();
    await this.#epochs.anchor();
  }

  /** An operator's word that the ledger counts as it is (S8). @throws KeydError `conflict` where nothing is wrong */
  async acceptRollback(by: string): Promise<void> {
    await this.health.accept(() => this.#epochs.accept(by));
  }

  /** Ends the epoch, so that the next start loses nothing. */
  async end(): Promise<void> {
    try {
      if (this.health.fault === undefined && this.#book.epoch.leases.size > 0)
        await this.#epochs.closeCleanly();
    } finally {
      await this.#compaction.done();
      await this.#journal.close();
    }
  }

  #allocate(
    t: 'allocate' | 'top-up',
    parent: string,
    child: string,
    budgets: ReadonlyMap<string, bigint>,
  ): Promise<void> {
    this.health.require();
    for (const [unit, amount] of budgets) {
      const free = this.#book.free(budgetKey(parent, unit));
      if (amount < 0n || amount > free) {
        throw new KeydError(
          'budget_exceeded',
          `${amount} of ${unit} were asked for, and the parent has ${free} left`,
        );
      }
    }
    return this.#write({ t, at: this.#time(), parent, child, budgets: amountsOf(budgets) });
  }

  #give(t: 'release' | 'settle', id: string, amounts: ReadonlyMap<string, bigint>): void {
    if (!this.#book.reservations.has(id)) return;
    // Not lost if it is not written: then the reservation stays spent.
    this.#write({ t, at: this.#time(), id, give: amountsOf(amounts) }).catch(() => undefined);
  }

  /** Applied before it returns; resolves when durable. */
  #write(record: LedgerRecord): Promise<void> {
    const octets = encodeRecord(record);
    this.#book.apply(record);
    this.#chain.add(octets);
    const { durable } = this.#journal.append(octets);
    this.#compaction.after(this.#book, this.#chain, this.#time());
    return durable;
  }

  /** A clock that was set back opens no window a second time. */
  #time(): number {
    return Math.max(Math.floor(this.#now()), this.#book.latestMs);
  }
}
