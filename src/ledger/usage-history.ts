import { array, integer, object, parse, text } from '../wire/check.ts';
import type { Usage, UsageHistory } from './usage.ts';

const MINUTE_MS = 60_000;
const MINUTES = 24 * 60;
/** Of one agent: beyond it every origin counts as new, which is the careful answer. */
const MAX_ORIGINS = 4096;

const count = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const SAVED = array(
  object({
    id: text({ maxLength: 1024 }),
    /** Pairs: minute since the epoch, signatures in it. */
    minutes: array(array(count, { max: 2 }), { max: MINUTES }),
    origins: array(text({ maxLength: 8192 }), { max: MAX_ORIGINS }),
  }),
  { max: 1_000_000 },
);

interface Past {
  /** Signatures by minute since the epoch, oldest first. */
  readonly minutes: Map<number, number>;
  readonly origins: Set<string>;
}

/** Counts signatures of the last 24 hours by the minute, in memory; the audit log keeps it over a restart. */
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

  /** All of it that still counts, as JSON. */
  save(): unknown {
    const since = Math.floor(this.#now() / MINUTE_MS) - MINUTES;
    return [...this.#agents].map(([id, { minutes, origins }]) => ({
      id,
      minutes: [...minutes].filter(([at]) => at > since),
      origins: [...origins],
    }));
  }

  /** Puts what `save` returned in the place of everything. @throws KeydError `malformed_structure` */
  restore(saved: unknown): void {
    const agents = parse(SAVED, saved, 'malformed_structure');
    this.clear();
    for (const { id, minutes, origins } of agents) {
      this.#agents.set(id, {
        minutes: new Map(minutes.map(([at = 0, count = 0]) => [at, count])),
        origins: new Set(origins),
      });
    }
  }

  clear(): void {
    this.#agents.clear();
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
