/** Requests of one share that are begun in one turn of the event loop, while other shares are there. */
const PER_TURN = 4;

/**
 * The event loop is the one thing that all callers share without a queue: hundreds of requests that come in at
 * once would be judged one after the other before anybody else's is so much as read. So a share begins a few in
 * each turn, and the loop looks for others in between.
 */
export class Turns {
  readonly #begun = new Map<string, number>();
  readonly #waiting = new Map<string, (() => void)[]>();
  #isScheduled = false;

  /** Undefined where a request of `share` may begin now, else what resolves when it may. */
  take(share: string): Promise<void> | undefined {
    this.#schedule();
    const begun = this.#begun.get(share) ?? 0;
    const waiting = this.#waiting.get(share);
    if (waiting === undefined && begun < PER_TURN) {
      this.#begun.set(share, begun + 1);
      return undefined;
    }
    return new Promise((resolve) => {
      if (waiting === undefined) this.#waiting.set(share, [resolve]);
      else waiting.push(resolve);
    });
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#begun.clear();
      for (const [share, waiting] of this.#waiting) {
        const next = waiting.splice(0, PER_TURN);
        this.#begun.set(share, next.length);
        if (waiting.length === 0) this.#waiting.delete(share);
        for (const begin of next) begin();
      }
      if (this.#begun.size > 0) this.#schedule();
    });
  }
}
