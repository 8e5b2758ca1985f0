import { removeItem } from '../base/remove-item.ts';
import { KeydError } from '../wire/problem.ts';

interface Held {
  readonly enter: () => void;
}

/** Where the requests of one share wait while as many of it are in flight as may be: in order, none of them begun. */
export class Door {
  /** An array, because a Set that is come into and gone from holds what went (docs/decisions/0048). */
  readonly #held: Held[] = [];
  readonly #now: () => number;
  #lastWaitMs = 0;

  /** @param now monotonic milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  get waiting(): number {
    return this.#held.length;
  }

  /**
   * Resolves when a place is handed on to this request.
   * @throws KeydError `too_many_requests` after `timeoutMs`, the reason of `signal` when that is aborted
   */
  async wait(signal: AbortSignal, timeoutMs: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const heldAt = this.#now();
    const held: Held = {
      enter: () => {
        this.#lastWaitMs = this.#now() - heldAt;
        resolve(undefined);
      },
    };
    const leave = (error: KeydError): void => {
      removeItem(this.#held, held);
      reject(error);
    };
    const onAbort = (): void => {
      const reason: unknown = signal.reason;
      leave(reason instanceof KeydError ? reason : new KeydError('caller_gone', 'the caller has gone'));
    };
    const timer = setTimeout(() => {
      leave(this.#late());
    }, timeoutMs);
    signal.addEventListener('abort', onAbort, { once: true });
    this.#held.push(held);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Hands a place on to the one that has waited longest; false where nobody waits. */
  next(): boolean {
    const held = this.#held.shift();
    held?.enter();
    return held !== undefined;
  }

  // What the last one to get in has waited is what the next one has to expect.
  #late(): KeydError {
    return new KeydError('too_many_requests', 'this caller has as many requests in flight as it may', {
      retryAfterSeconds: Math.max(1, Math.ceil(this.#lastWaitMs / 1000)),
    });
  }
}
