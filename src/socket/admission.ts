/** Who may have how much in flight: connections, requests and octets per share of a caller (S20). */
import { KeydError } from '../wire/problem.ts';
import { Door } from './door.ts';
import type { ShareLimits } from './limits.ts';
import { Turns } from './turns.ts';

/** Shares without anything open are forgotten beyond this number. */
const MAX_REMEMBERED_SHARES = 1_024;
/** What a request takes beside its header, at least. */
const REQUEST_OCTETS = 1_024;
/** A share that was refused nothing for so long gets the refusals of that time at once. */
const BURST_MS = 1_000;

interface Use {
  connections: number;
  requests: number;
  octets: number;
  headOctets: number;
  /** Requests beyond those in flight. */
  readonly door: Door;
  /** When the next refusal is due, were each to take its part of a second. */
  refusalDueMs: number;
}

/** What one request holds; `release` may be called more than once. */
export interface RequestTicket {
  /** Counts body octets as they come in. @throws KeydError `too_many_requests` */
  addOctets(count: number): void;
  release(): void;
}

/** What the header of one request takes; `release` may be called more than once. */
export interface HeadPlace {
  release(): void;
}

export class Admission {
  readonly #limits: ShareLimits;
  readonly #now: () => number;
  readonly #uses = new Map<string, Use>();
  readonly #turns = new Turns();
  /** Shares with a connection. */
  #connected = 0;
  // A place is handed on, never free in between: who waits goes before who just comes.
  readonly #handOn = (use: Use): void => {
    while (use.requests < this.#maxRequests() && use.door.next()) use.requests += 1;
  };

  /** @param now monotonic milliseconds */
  constructor(limits: ShareLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Takes a place for a connection; returns what gives it back. @throws KeydError `too_many_requests` */
  connect(share: string): () => void {
    const use = this.#use(share);
    if (use.connections >= this.#limits.maxConnections) {
      throw refuse(`this caller has ${use.connections} connections open, the most it may`);
    }
    use.connections += 1;
    if (use.connections === 1) this.#connected += 1;
    return once(() => {
      use.connections -= 1;
      if (use.connections === 0) this.#connected -= 1;
    });
  }

  /**
   * Takes a place for a request. A share that has as many in flight as it may waits until one of them is over:
   * holding a request costs nothing, where refusing it would have a caller that spins ask again at once.
   * @param caller its `signal` is aborted when the caller has gone; asked for only where the request is held
   * @throws KeydError `too_many_requests` where none is over in time; the reason of `signal`
   */
  begin(share: string, caller: { readonly signal: AbortSignal }): RequestTicket | Promise<RequestTicket> {
    const use = this.#use(share);
    if (use.requests >= this.#maxRequests()) return this.#hold(share, use, caller.signal);
    use.requests += 1;
    const ticket = new Ticket(use, this.#limits, this.#handOn);
    const turn = this.#connected > 1 ? this.#turns.take(share) : undefined;
    return turn === undefined ? ticket : turn.then(() => ticket);
  }

  /**
   * Counts the header of a request that has come, whatever becomes of it; undefined where the share has too many
   * octets already.
   */
  keepHead(share: string, octets: number): HeadPlace | undefined {
    const use = this.#use(share);
    const weight = octets + REQUEST_OCTETS;
    return use.headOctets + weight > this.#limits.maxHeadOctets ? undefined : new Head(use, weight);
  }

  /** Counts a refusal; milliseconds to wait before it is answered, so that a share gets no more of them a second. */
  refusalDelay(share: string): number {
    const { maxRefusalsPerSecond, maxRefusalDelayMs } = this.#limits;
    const use = this.#use(share);
    const now = this.#now();
    const due = Math.max(use.refusalDueMs, now - BURST_MS) + BURST_MS / maxRefusalsPerSecond;
    use.refusalDueMs = Math.min(due, now + maxRefusalDelayMs);
    return Math.max(0, use.refusalDueMs - now);
  }

  async #hold(share: string, use: Use, signal: AbortSignal): Promise<RequestTicket> {
    await use.door.wait(signal, this.#limits.maxHeldMs);
    if (this.#connected > 1) await this.#turns.take(share);
    return new Ticket(use, this.#limits, this.#handOn);
  }

  #maxRequests(): number {
    const { maxRequests, maxRequestsBesideOthers } = this.#limits;
    return this.#connected > 1 ? Math.min(maxRequests, maxRequestsBesideOthers) : maxRequests;
  }

  #use(share: string): Use {
    let use = this.#uses.get(share);
    if (use === undefined) {
      if (this.#uses.size >= MAX_REMEMBERED_SHARES) this.#forgetIdle();
      const door = new Door(this.#now);
      use = {
        connections: 0,
        requests: 0,
        octets: 0,
        headOctets: 0,
        door,
        refusalDueMs: Number.NEGATIVE_INFINITY,
      };
      this.#uses.set(share, use);
    }
    return use;
  }

  // Not as soon as nothing is open: a caller that connects anew for every refusal is still counted.
  #forgetIdle(): void {
    const now = this.#now();
    for (const [share, use] of this.#uses) {
      const idle =
        use.connections === 0 &&
        use.requests === 0 &&
        use.headOctets === 0 &&
        now - use.refusalDueMs >= BURST_MS;
      if (idle) this.#uses.delete(share);
    }
  }
}

class Ticket implements RequestTicket {
  readonly #use: Use;
  readonly #limits: ShareLimits;
  readonly #handOn: (use: Use) => void;
  #octets = 0;
  #isReleased = false;

  constructor(use: Use, limits: ShareLimits, handOn: (use: Use) => void) {
    this.#use = use;
    this.#limits = limits;
    this.#handOn = handOn;
  }

  addOctets(count: number): void {
    const use = this.#use;
    if (use.octets + count > this.#limits.maxOctets) {
      throw refuse(`this caller has ${use.octets} octets in flight; ${count} more are too many`);
    }
    use.octets += count;
    this.#octets += count;
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#use.octets -= this.#octets;
    this.#use.requests -= 1;
    this.#handOn(this.#use);
  }
}

class Head implements HeadPlace {
  readonly #use: Use;
  #weight: number;

  constructor(use: Use, weight: number) {
    this.#use = use;
    this.#weight = weight;
    use.headOctets += weight;
  }

  release(): void {
    this.#use.headOctets -= this.#weight;
    this.#weight = 0;
  }
}

function once(act: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    act();
  };
}

function refuse(message: string): KeydError {
  return new KeydError('too_many_requests', message, { retryAfterSeconds: 1 });
}
