/** Full denials of one share in one minute; what is beyond is counted, and the count is written once the minute is over (S16). */
export class DenialQuota {
  readonly #perMinute: number;
  readonly #write: (share: string, count: number, sinceMs: number) => void;
  readonly #shares = new Map<string, { full: number; more: number; sinceMs: number }>();

  constructor(perMinute: number, write: (share: string, count: number, sinceMs: number) => void) {
    this.#perMinute = perMinute;
    this.#write = write;
  }

  /**
   * Whether this denial gets an entry of its own.
   * @param isShort none does: there is no room for any
   */
  take(share: string, nowMs: number, isShort = false): boolean {
    let minute = this.#shares.get(share);
    if (minute === undefined || nowMs - minute.sinceMs >= MINUTE_MS) {
      this.flush(nowMs);
      minute = { full: 0, more: 0, sinceMs: nowMs };
      this.#shares.set(share, minute);
    }
    if (!isShort && minute.full < this.#perMinute) {
      minute.full += 1;
      return true;
    }
    minute.more += 1;
    return false;
  }

  /** Writes what minutes that are over have counted. */
  flush(nowMs: number): void {
    for (const [share, { more, sinceMs }] of this.#shares) {
      if (nowMs - sinceMs < MINUTE_MS) continue;
      if (more > 0) this.#write(share, more, sinceMs);
      this.#shares.delete(share);
    }
  }

  /** Writes everything that is counted: there will be no later. */
  end(): void {
    this.flush(Infinity);
  }
}

const MINUTE_MS = 60_000;
