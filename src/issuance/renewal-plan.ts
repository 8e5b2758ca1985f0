/** When each thing is due: pure, so that the schedule can be tested without waiting for it. */
import { backoffMs } from '../base/backoff.ts';

const RETRY = { baseMs: 2_000, maxMs: 300_000 } as const;

interface Attempt {
  readonly failures: number;
  readonly notBeforeMs: number;
}

/** Remembers failures per target and says when a target may be tried again. */
export class RetryPlan {
  readonly #attempts = new Map<string, Attempt>();
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** @param retryAfterSeconds what the issuer asked for; never shortened */
  failed(target: string, nowMs: number, retryAfterSeconds = 0): void {
    const failures = (this.#attempts.get(target)?.failures ?? 0) + 1;
    const waitMs = Math.max(
      backoffMs(failures, { ...RETRY, random: this.#random }),
      retryAfterSeconds * 1000,
    );
    this.#attempts.set(target, { failures, notBeforeMs: nowMs + waitMs });
  }

  succeeded(target: string): void {
    this.#attempts.delete(target);
  }

  /** When `target`, due at `dueMs`, is really tried: not before its backoff has passed. */
  dueMs(target: string, dueMs: number): number {
    return Math.max(dueMs, this.#attempts.get(target)?.notBeforeMs ?? 0);
  }

  /** Forgets targets that are no more. */
  keepOnly(targets: ReadonlySet<string>): void {
    for (const target of this.#attempts.keys()) if (!targets.has(target)) this.#attempts.delete(target);
  }
}
