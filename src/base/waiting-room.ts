/** Who waits in a fair queue, in which order, and who has to give way when it is full. No time and no promises here. */
import type { KeydError } from '../wire/problem.ts';
import { removeItem } from './remove-item.ts';

/** One waiting operation. */
export interface Waiter {
  readonly share: string;
  readonly internal: boolean;
  /** Settles the operation with `error`; must not come back into the room. */
  readonly refuse: (error: KeydError) => void;
  /** Runs it; false if it was refused meanwhile. Never rejects. */
  readonly start: () => Promise<boolean>;
}

export interface WaitingRoomOptions {
  readonly maxWaitingPerShare: number;
  readonly maxWaiting: number;
  readonly reservedWaiting: number;
}

interface Share {
  readonly waiters: Waiter[];
  /** Operations dispatched and not yet charged. */
  running: number;
  /** Virtual time at which this share's next operation starts: what it has used, in milliseconds. */
  startAt: number;
  /** Turn in which it was last served; the longest unserved wins a tie. */
  lastTurn: number;
}

export class WaitingRoom {
  readonly #options: WaitingRoomOptions;
  readonly #shares = new Map<string, Share>();
  #virtualTime = 0;
  #turn = 0;
  #ordinary = 0;
  #internal = 0;

  constructor(options: WaitingRoomOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#ordinary + this.#internal;
  }

  /**
   * Lets `waiter` in. In a full room a share with several waiting operations loses its newest to one that has
   * fewer: a flood can not keep others out.
   * @param free an operation could start at once, so that no place is needed
   */
  enter(waiter: Waiter, free: boolean): { readonly admitted: boolean; readonly evicted?: Waiter } {
    const waiting = this.waitingOf(waiter.share);
    if (waiting >= this.#options.maxWaitingPerShare && !free) return { admitted: false };
    let evicted: Waiter | undefined;
    if (!free && !this.#hasPlace(waiter)) {
      evicted = this.#evictFor(waiting);
      if (evicted === undefined) return { admitted: false };
    }
    const share = this.#share(waiter.share);
    // An idle share starts now: neither credit for its absence nor a place behind those who never pause.
    if (share.waiters.length === 0 && share.running === 0)
      share.startAt = Math.max(share.startAt, this.#virtualTime);
    share.waiters.push(waiter);
    this.#count(waiter, 1);
    return { admitted: true, ...(evicted === undefined ? {} : { evicted }) };
  }

  /** Takes the next operation in fair order and charges its share `expectedMs` in advance. */
  next(expectedMs: number): Waiter | undefined {
    let best: Share | undefined;
    for (const share of this.#shares.values()) {
      if (share.waiters.length === 0) continue;
      if (best === undefined || before(share, best)) best = share;
    }
    const waiter = best?.waiters.shift();
    if (best === undefined || waiter === undefined) return undefined;
    this.#count(waiter, -1);
    this.#turn += 1;
    best.lastTurn = this.#turn;
    best.running += 1;
    this.#virtualTime = Math.max(this.#virtualTime, best.startAt);
    best.startAt += expectedMs;
    return waiter;
  }

  /** Corrects what was charged in advance, once the operation is over. */
  charge(name: string, differenceMs: number): void {
    const share = this.#shares.get(name);
    if (share === undefined) return;
    share.running -= 1;
    share.startAt += differenceMs;
    this.#forgetIdle();
  }

  /** Removes a waiter that is still here. */
  remove(waiter: Waiter): void {
    const waiters = this.#shares.get(waiter.share)?.waiters;
    if (waiters === undefined || !removeItem(waiters, waiter)) return;
    this.#count(waiter, -1);
    this.#forgetIdle();
  }

  takeAll(): readonly Waiter[] {
    const all = [...this.#shares.values()].flatMap((share) => share.waiters.splice(0));
    this.#ordinary = 0;
    this.#internal = 0;
    return all;
  }

  waitingOf(name: string): number {
    return this.#shares.get(name)?.waiters.length ?? 0;
  }

  /** Operations that are served before a further one of this share: at most its own number of turns of each other share. */
  aheadOf(name: string): number {
    const own = this.waitingOf(name);
    let ahead = own;
    for (const [other, { waiters }] of this.#shares) {
      if (other !== name) ahead += Math.min(waiters.length, own + 1);
    }
    return ahead;
  }

  #hasPlace(waiter: Waiter): boolean {
    const { maxWaiting, reservedWaiting } = this.#options;
    if (waiter.internal && this.#internal < reservedWaiting) return true;
    return this.#ordinary + Math.max(0, this.#internal - reservedWaiting) < maxWaiting;
  }

  #evictFor(waiting: number): Waiter | undefined {
    let longest: Share | undefined;
    for (const share of this.#shares.values()) {
      if (share.waiters.some((waiter) => waiter.internal)) continue;
      if (longest === undefined || share.waiters.length > longest.waiters.length) longest = share;
    }
    // Two more, so that the one who gives way does not push back.
    if (longest === undefined || longest.waiters.length < waiting + 2) return undefined;
    const evicted = longest.waiters.pop();
    if (evicted !== undefined) this.#count(evicted, -1);
    return evicted;
  }

  #share(name: string): Share {
    let share = this.#shares.get(name);
    if (share === undefined) {
      share = { waiters: [], running: 0, startAt: this.#virtualTime, lastTurn: 0 };
      this.#shares.set(name, share);
    }
    return share;
  }

  #count(waiter: Waiter, by: 1 | -1): void {
    if (waiter.internal) this.#internal += by;
    else this.#ordinary += by;
  }

  // A share that waits for nothing and owes nothing is like a new one.
  #forgetIdle(): void {
    let busy = false;
    for (const share of this.#shares.values()) busy ||= share.waiters.length > 0 || share.running > 0;
    for (const [name, share] of this.#shares) {
      const idle = share.waiters.length === 0 && share.running === 0;
      // With nobody there, what a share owes it owes to nobody.
      if (idle && (!busy || share.startAt <= this.#virtualTime)) this.#shares.delete(name);
    }
  }
}

function before(left: Share, right: Share): boolean {
  if (left.startAt !== right.startAt) return left.startAt < right.startAt;
  return left.lastTurn < right.lastTurn;
}
