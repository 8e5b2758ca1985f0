/** One at a time, bounded, abortable: commands of one operation on the TPM must not interleave with another's. */
import { KeydError } from '../../wire/problem.ts';

interface Waiting {
  readonly start: () => void;
  readonly refuse: (reason: KeydError) => void;
}

export class SerialQueue {
  readonly #limit: number;
  readonly #waiting: Waiting[] = [];
  #runningSince: number | undefined;
  #closed = false;
  #idle: (() => void) | undefined;

  /** @param limit how many jobs may wait beside the one that runs */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** For how long the present job has been running, in milliseconds; undefined while idle. */
  get runningForMs(): number | undefined {
    return this.#runningSince === undefined ? undefined : performance.now() - this.#runningSince;
  }

  /**
   * Runs `job` after those before it. A job whose signal is aborted when its turn comes is never started.
   * @throws KeydError `too_many_requests`, `caller_gone` (or the signal's own KeydError), `shutting_down`
   */
  async run<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    refuseAborted(signal);
    this.requireOpen();
    if (this.#runningSince !== undefined) await this.#turn(signal);
    this.#runningSince = performance.now();
    try {
      refuseAborted(signal);
      return await job();
    } finally {
      this.#next();
    }
  }

  /** @throws KeydError `shutting_down` after `close` */
  requireOpen(): void {
    if (this.#closed) throw shuttingDown();
  }

  /** Refuses what waits and what comes, and resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { refuse } of this.#waiting.splice(0)) refuse(shuttingDown());
    if (this.#runningSince === undefined) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.length >= this.#limit) {
      throw new KeydError('too_many_requests', 'The queue of the TPM is full; try again', {
        retryAfterSeconds: 1,
      });
    }
    return new Promise((resolve, reject) => {
      // Who leaves gives up the place at once.
      const leave = (): void => {
        const place = this.#waiting.indexOf(waiting);
        if (place >= 0) this.#waiting.splice(place, 1);
        reject(abortReason(signal));
      };
      const stay = (): void => signal?.removeEventListener('abort', leave);
      const waiting: Waiting = {
        start: () => {
          stay();
          resolve();
        },
        refuse: (reason) => {
          stay();
          reject(reason);
        },
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.push(waiting);
    });
  }

  // The place is handed on, never free in between: who waited runs before who just came.
  #next(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next.start();
      return;
    }
    this.#runningSince = undefined;
    this.#idle?.();
  }
}

/** @throws KeydError: the signal's reason if it is one, else `caller_gone` */
export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortReason(signal);
}

function abortReason(signal: AbortSignal | undefined): KeydError {
  const reason: unknown = signal?.reason;
  if (reason instanceof KeydError) return reason;
  return new KeydError('caller_gone', 'The caller went away before its turn', { cause: reason });
}

function shuttingDown(): KeydError {
  return new KeydError('shutting_down', 'The TPM backend is closed');
}
