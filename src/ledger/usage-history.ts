import type { Usage, UsageHistory } from './usage.ts';

const MINUTE_MS = 60_000;
const MINUTES = 24 * 60;
/** Of one agent: beyond it every origin counts as new, which is the careful answer. */
const MAX_ORIGINS = 4096;

interface Past {
  /** Signatures by minute since the epoch, oldest first. */
  readonly minutes: Map<number, number>;
  readonly origins: Set<string>;
}

/** Counts signatures of the last 24 hours by the minute, in memory; refilled at start from the audit log. */
export class MemoryUsageHistory implements UsageHistory {
  readonly #now: () => number;
  readonly #agents = new Map<string, Past>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  of(agentId: string, origin: string | undefined): Usage {
    const past = this.#agents.get(agentId);
    if (past === undefined) return { firstUseOfOrigin: true, lastMinute: 0, lastHour: 0, lastDay: 0 };
    const minute = Math.floor(this.#now() / MINUTE_MS);
    const since = (minutes: number): number => {
      let sum = 0;
      for (const [at, count] of past.minutes) if (at > minute - minutes && at <= minute) sum += count;
      return sum;
    };
    return {
      firstUseOfOrigin: origin === undefined || !past.origins.has(origin),
      lastMinute: since(1),
      lastHour: since(60),
      lastDay: since(MINUTES),
    };
  }

  signed(agentId: string, origin: string | undefined): void {
    this.signedAt(agentId, origin, this.#now());
  }

  /** One signature of the past. */
  signedAt(agentId: string, origin: string | undefined, atMs: number): void {
    const past = this.#past(agentId);
    const minute = Math.floor(atMs / MINUTE_MS);
    past.minutes.set(minute, (past.minutes.get(minute) ?? 0) + 1);
    if (past.minutes.size > MINUTES) {
      const [oldest] = past.minutes.keys();
      if (oldest !== undefined) past.minutes.delete(oldest);
    }
    if (origin !== undefined && past.origins.size < MAX_ORIGINS) past.origins.add(origin);
  }

  /** An agent that is gone has no past. */
  forget(agentId: string): void {
    this.#agents.delete(agentId);
  }

  #past(agentId: string): Past {
    let past = this.#agents.get(agentId);
    if (past === undefined) {
      past = { minutes: new Map(), origins: new Set() };
      this.#agents.set(agentId, past);
    }
    return past;
  }
}
