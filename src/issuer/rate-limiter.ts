/** Token buckets by key, bounded in number: who is idle is forgotten, never who is busy. */
import { KeydError } from '../wire/problem.ts';

interface Bucket {
  tokens: number;
  atMs: number;
}

const MAX_KEYS = 50_000;
const MINUTE_MS = 60_000;

export class RateLimiter {
  readonly #perMinute: number;
  readonly #nowMs: () => number;
  readonly #what: string;
  readonly #buckets = new Map<string, Bucket>();

  /** @param what for the message, e.g. `enrolments from this network` */
  constructor(perMinute: number, what: string, nowMs: () => number) {
    this.#perMinute = perMinute;
    this.#what = what;
    this.#nowMs = nowMs;
  }

  /** Takes one token of `key`. @throws KeydError `too_many_requests` with the seconds until the next */
  take(key: string): void {
    const nowMs = this.#nowMs();
    const bucket = this.#bucket(key, nowMs);
    bucket.tokens = this.#refilled(bucket, nowMs);
    bucket.atMs = nowMs;
    if (bucket.tokens < 1) {
      const seconds = Math.ceil(((1 - bucket.tokens) * MINUTE_MS) / this.#perMinute / 1000);
      throw new KeydError('too_many_requests', `more than ${this.#perMinute} ${this.#what} a minute`, {
        retryAfterSeconds: Math.max(1, seconds),
      });
    }
    bucket.tokens -= 1;
  }

  #bucket(key: string, nowMs: number): Bucket {
    const known = this.#buckets.get(key);
    if (known !== undefined) return known;
    if (this.#buckets.size >= MAX_KEYS) this.#forgetIdle(nowMs);
    if (this.#buckets.size >= MAX_KEYS) {
      throw new KeydError('too_many_requests', `too many sources of ${this.#what}`, {
        retryAfterSeconds: 60,
      });
    }
    const fresh = { tokens: this.#perMinute, atMs: nowMs };
    this.#buckets.set(key, fresh);
    return fresh;
  }

  /** A full bucket says nothing that a new one would not. */
  #forgetIdle(nowMs: number): void {
    for (const [key, bucket] of this.#buckets) {
      if (this.#refilled(bucket, nowMs) >= this.#perMinute) this.#buckets.delete(key);
    }
  }

  #refilled(bucket: Bucket, nowMs: number): number {
    // A clock that steps back refills nothing.
    const elapsedMs = Math.max(0, nowMs - bucket.atMs);
    return Math.min(this.#perMinute, bucket.tokens + (elapsedMs * this.#perMinute) / MINUTE_MS);
  }
}
