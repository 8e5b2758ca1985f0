/**
 * Epochs: what may be spent between two values of a counter that nothing sets back. Each leases some of every
 * active purse; a ledger that was set back, or that did not end cleanly, has lost its leases and no more (S8).
 */
import { anchorBound, type AnchoredHeads } from '../wire/audit-anchor.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { Book } from './book.ts';
import type { AnchorProof, EpochCounter } from './epoch-counter.ts';
import { amountsOf, type LedgerRecord } from './records.ts';

/** The other log that a counter value vouches for. */
export interface AuditHead {
  /** base64url. */
  readonly root: string;
  readonly size: number;
}

export interface EpochsOptions {
  readonly book: Book;
  /** Appends and applies; resolves when durable. */
  readonly write: (record: LedgerRecord) => Promise<void>;
  /** Hash of every record so far, base64url. */
  readonly ledgerHead: () => string;
  readonly auditHead: () => AuditHead;
  readonly counter: EpochCounter | undefined;
  readonly lease: (key: string, amount: bigint) => bigint;
  readonly now: () => number;
  readonly onAnchor: (proof: AnchorProof) => void;
  /** Told why the counter did not move, or may have. */
  readonly onFailure: (error: KeydError) => void;
}

/** Reservations that the present epoch did not lease. */
interface Waiter extends PromiseWithResolvers<undefined> {
  readonly amounts: ReadonlyMap<string, bigint>;
}

/** Purses that spent lately get a lease of the next epoch without asking. */
const MAX_LEASES = 1024;

export class Epochs {
  readonly #options: EpochsOptions;
  #waiting: Waiter[] = [];
  #opening: Promise<void> | undefined;
  #isInDoubt = false;
  /**
   * Whether this process has moved the counter itself, and nothing failed since. Until then another copy of this state
   * may have an intent for the same value: that value is passed over, and nothing is spent under it.
   */
  #isAlone = false;
  /** What moves the counter, or needs it to stay where it is, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: EpochsOptions) {
    this.#options = options;
  }

  /** Whether the next epoch is on its way, or may have begun: nothing is spent under the old one any more. */
  get isOpening(): boolean {
    return this.#opening !== undefined || this.#isInDoubt;
  }

  /**
   * Compares the ledger with the counter and forfeits what an epoch that did not end cleanly had leased.
   * @throws KeydError `ledger_rolled_back` where the ledger is not the one that the counter last saw
   */
  async recover(): Promise<void> {
    const { book, counter, write, now } = this.#options;
    const value = await counter?.read();
    const { intent } = book;
    if (intent !== undefined && (value === undefined || value === intent.number)) {
      // The counter may have moved, and somebody may have spent since: another copy of this state.
      await write({ t: 'epoch', at: now(), epoch: String(intent.number) });
    } else if (value !== undefined && value !== book.epoch.number && counter?.isNew === false) {
      throw new KeydError(
        'ledger_rolled_back',
        `the ledger is of epoch ${book.epoch.number}, the TPM’s counter at ${value}: an older copy of the state was restored, or the TPM is another; see agentkey ledger accept-rollback`,
      );
    }
    const lost = [...book.epoch.leases.keys()].map((key) => [key, this.#rest(key)] as const);
    const epoch = String(value ?? book.epoch.number);
    if (book.epoch.leases.size > 0 || (value !== undefined && value !== book.epoch.number)) {
      const take = amountsOf(lost.filter(([, amount]) => amount > 0n));
      await write({ t: 'forfeit', at: now(), epoch, take });
    }
  }

  /** Goes on with what the ledger holds, at the counter's present value. */
  async accept(by: string): Promise<void> {
    const { counter, book, write, now } = this.#options;
    const value = (await counter?.adopt()) ?? book.epoch.number;
    // Leases of the last epoch that this copy knows are gone in any case.
    const lost = [...book.epoch.leases.keys()].map((key) => [key, this.#rest(key)] as const);
    await write({
      t: 'forfeit',
      at: now(),
      epoch: String(value),
      take: amountsOf(lost.filter(([, amount]) => amount > 0n)),
    });
    await write({ t: 'accepted', at: now(), epoch: String(value), by });
  }

  /** Resolves when an epoch has begun after these amounts were taken. */
  require(amounts: ReadonlyMap<string, bigint>): Promise<void> {
    const waiter = { ...Promise.withResolvers<undefined>(), amounts };
    this.#waiting.push(waiter);
    this.#opening ??= this.#open();
    return waiter.promise;
  }

  /** Begins an epoch for the sake of its anchor, with leases for whoever spent in the last. */
  anchor(): Promise<void> {
    return this.require(new Map());
  }

  /** Runs `work` while no epoch begins: the counter is at the epoch of the heads that it is given. */
  hold<T>(work: (heads: AnchoredHeads) => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      await this.#resolveDoubt();
      return work(this.#heads(this.#options.book.epoch.number));
    });
  }

  /** An epoch that leases nothing: what is copied from now on is worth nothing, and nothing is lost at a start. */
  async closeCleanly(): Promise<void> {
    await this.#opening;
    await this.#advance(new Map());
  }

  async #open(): Promise<void> {
    // Whoever asks in this same turn is part of it.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      try {
        await this.#advance(this.#leases(waiting.flatMap(({ amounts }) => [...amounts.keys()])));
        for (const { resolve } of waiting) resolve(undefined);
        this.#serveFromLeases();
      } catch (thrown) {
        for (const { reject } of waiting) reject(thrown);
      }
    }
    this.#opening = undefined;
  }

  /** Who came while the epoch was being opened may find itself covered by it. */
  #serveFromLeases(): void {
    const { book } = this.#options;
    this.#waiting = this.#waiting.filter(({ amounts, resolve }) => {
      if (![...amounts].every(([key, amount]) => book.leased(key) >= amount)) return true;
      for (const [key, amount] of amounts) this.#use(key, amount);
      resolve(undefined);
      return false;
    });
  }

  /**
   * After a failure nobody knows whether the counter moved. Where it did, its value has begun an epoch that leases
   * nothing: what was asked for meanwhile waits for the next.
   */
  async #resolveDoubt(): Promise<void> {
    const { book, counter, now, write } = this.#options;
    const { intent } = book;
    if (!this.#isInDoubt || counter === undefined) return;
    const value = await counter.read();
    if (intent !== undefined && value === intent.number)
      await write({ t: 'forfeit', at: now(), epoch: String(value), take: {} });
    this.#isInDoubt = false;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #heads(epoch: bigint): AnchoredHeads {
    const { auditHead, ledgerHead } = this.#options;
    const { root, size } = auditHead();
    return { epoch: String(epoch), ledgerHead: ledgerHead(), auditHead: root, auditSize: size };
  }

  /** Intent, counter, beginning: each durable before the next. */
  #advance(leases: ReadonlyMap<string, bigint>): Promise<void> {
    return this.#inTurn(() => this.#advanceNow(leases));
  }

  async #advanceNow(leases: ReadonlyMap<string, bigint>): Promise<void> {
    await this.#resolveDoubt();
    if (this.#options.counter !== undefined && !this.#isAlone) {
      await this.#step(new Map());
      this.#isAlone = true;
    }
    await this.#step(leases);
  }

  async #step(leases: ReadonlyMap<string, bigint>): Promise<void> {
    const { book, counter, now, onAnchor, onFailure, write } = this.#options;
    const before = book.epoch.number;
    const number = before + 1n;
    await write({ t: 'intent', at: now(), epoch: String(number), leases: amountsOf(leases) });
    if (counter !== undefined) {
      this.#isInDoubt = true;
      try {
        onAnchor(await counter.advance(before, anchorBound(this.#heads(number))));
      } catch (thrown) {
        this.#isAlone = false;
        const error = asKeydError(thrown);
        onFailure(error);
        if (error.code === 'ledger_rolled_back') await this.#takeBack(before);
        throw error;
      }
    }
    await write({ t: 'epoch', at: now(), epoch: String(number) });
    this.#isInDoubt = false;
  }

  /** The value of an intent was another copy's: with the intent on record, the next start would take it for its own. */
  async #takeBack(epoch: bigint): Promise<void> {
    const { now, write } = this.#options;
    await write({ t: 'forfeit', at: now(), epoch: String(epoch), take: {} });
    this.#isInDoubt = false;
  }

  /**
   * A lease for whoever asks, or spent in this epoch. What is asked for is on record as spent before the intent is,
   * so that it needs none.
   */
  #leases(asking: readonly string[]): ReadonlyMap<string, bigint> {
    const { book, lease } = this.#options;
    const keys = [...new Set([...asking, ...book.epoch.used.keys()])].slice(0, MAX_LEASES);
    const leases = new Map<string, bigint>();
    for (const key of keys) {
      const purse = book.purses.get(key);
      if (purse === undefined) continue;
      const wanted = lease(key, purse.amount);
      const free = book.free(key);
      const amount = wanted < free ? wanted : free;
      if (amount > 0n) leases.set(key, amount);
    }
    return leases;
  }

  #use(key: string, amount: bigint): void {
    const { used } = this.#options.book.epoch;
    used.set(key, (used.get(key) ?? 0n) + amount);
  }

  /** What a lease still covers, as far as the purse still has it. */
  #rest(key: string): bigint {
    const { book } = this.#options;
    const rest = book.leased(key);
    const free = book.free(key);
    const lost = rest < free ? rest : free;
    return lost > 0n ? lost : 0n;
  }
}
