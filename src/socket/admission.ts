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

export class Admission {
  readonly #limits: ShareLimits;
  readonly #now: () => number;
  readonly #uses = new Map<string, Use>();
  readonly #turns = new Turns();
  /** Shares with a connection. */
  #connected = 0;

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
   * @param signal aborted when the caller has gone
   * @throws KeydError `too_many_requests` where none is over in time; the reason of `signal`
   */
  begin(share: string, signal: AbortSignal): RequestTicket | Promise<RequestTicket> {
    const use = this.#use(share);
    if (use.requests >= this.#maxRequests()) return this.#hold(share, use, signal);
    use.requests += 1;
    const ticket = this.#ticket(use);
    const turn = this.#connected > 1 ? this.#turns.take(share) : undefined;
    return turn === undefined ? ticket : turn.then(() => ticket);
  }

  /**
   * Counts the header of a request that has come, whatever becomes of it; returns what gives the octets back,
   * undefined where the share has too many already.
   */
  keepHead(share: string, octets: number): (() => void) | undefined {
    const use = this.#use(share);
    const weight = octets + REQUEST_OCTETS;
    if (use.headOctets + weight > this.#limits.maxHeadOctets) return undefined;
    use.headOctets += weight;
    return once(() => {
      use.headOctets -= weight;
    });
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
    return this.#ticket(use);
  }

  #ticket(use: Use): RequestTicket {
    let octets = 0;
    return {
      addOctets: (count) => {
        if (use.octets + count > this.#limits.maxOctets) {
          throw refuse(`this caller has ${use.octets} octets in flight; ${count} more are too many`);
        }
        use.octets += count;
        octets += count;
      },
      release: once(() => {
        use.octets -= octets;
        use.requests -= 1;
        // Handed on, never free in between: who waits goes before who just comes.
        while (use.requests < this.#maxRequests() && use.door.next()) use.requests += 1;
      }),
    };
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
