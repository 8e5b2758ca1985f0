/** Who may have how much in flight: connections, requests and octets per share of a caller (S20). */
import { KeydError } from '../wire/problem.ts';
import type { ShareLimits } from './limits.ts';

/** Shares without anything open are forgotten beyond this number. */
const MAX_REMEMBERED_SHARES = 1_024;

interface Use {
  connections: number;
  requests: number;
  octets: number;
  /** Refusals within the second that began at `secondBeganMs`. */
  refusals: number;
  secondBeganMs: number;
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
    return once(() => {
      use.connections -= 1;
    });
  }

  /** @throws KeydError `too_many_requests` */
  begin(share: string): RequestTicket {
    const use = this.#use(share);
    if (use.requests >= this.#limits.maxRequests) {
      throw refuse(`this caller has ${use.requests} requests in flight, the most it may`);
    }
    use.requests += 1;
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
        use.requests -= 1;
        use.octets -= octets;
      }),
    };
  }

  /** Counts a refusal; milliseconds to wait before it is answered. */
  refusalDelay(share: string): number {
    const use = this.#use(share);
    const now = this.#now();
    if (now - use.secondBeganMs >= 1_000) {
      use.secondBeganMs = now;
      use.refusals = 0;
    }
    use.refusals += 1;
    return use.refusals > this.#limits.maxPromptRefusalsPerSecond ? this.#limits.refusalDelayMs : 0;
  }

  #use(share: string): Use {
    let use = this.#uses.get(share);
    if (use === undefined) {
      if (this.#uses.size >= MAX_REMEMBERED_SHARES) this.#forgetIdle();
      use = { connections: 0, requests: 0, octets: 0, refusals: 0, secondBeganMs: this.#now() };
      this.#uses.set(share, use);
    }
    return use;
  }

  // Not as soon as nothing is open: a caller that connects anew for every refusal is still counted.
  #forgetIdle(): void {
    const now = this.#now();
    for (const [share, use] of this.#uses) {
      const idle = use.connections === 0 && use.requests === 0 && now - use.secondBeganMs >= 1_000;
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
