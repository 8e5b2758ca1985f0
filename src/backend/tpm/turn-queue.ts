/**
 * Turns at the TPM, bounded, abortable, in order. Commands of one operation must not interleave with another's, so
 * most take their turn alone; those of one command over what is loaded already take it beside others like them, so
 * that the TPM has its next command when it is done with one.
 */
import { removeItem } from '../../base/remove-item.ts';
import { KeydError } from '../../wire/problem.ts';
import { abortReason, refuseAborted } from '../refuse-aborted.ts';

interface Waiting {
  readonly isAlone: boolean;
  readonly start: () => void;
  readonly refuse: (reason: KeydError) => void;
}

export class TurnQueue {
  readonly #limit: number;
  readonly #width: number;
  readonly #waiting: Waiting[] = [];
  /** Jobs that run, and whether it is one that runs alone. */
  #running = 0;
  #isAlone = false;
  #runningSince: number | undefined;
  #closed = false;
  #idle: (() => void) | undefined;

  /**
   * @param limit how many jobs may wait for their turn
   * @param width how many may run beside one another: enough to hide the way to the TPM and back
   */
  constructor(limit: number, width = 8) {
    this.#limit = limit;
    this.#width = width;
  }

  /** Since a job last began or ended with others left, in milliseconds; undefined while idle. */
  get runningForMs(): number | undefined {
    return this.#runningSince === undefined ? undefined : performance.now() - this.#runningSince;
  }

  /**
   * Runs `job` after those before it and before those after it. A job whose signal is aborted when its turn comes
   * is never started.
   * @throws KeydError `too_many_requests`, `caller_gone` (or the signal's own KeydError), `shutting_down`
   */
  alone<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#run(true, job, signal);
  }

  /** As `alone`, while others of its kind may run too. */
  beside<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#run(false, job, signal);
  }

  /** @throws KeydError `shutting_down` after `close` */
  requireOpen(): void {
    if (this.#closed) throw shuttingDown();
  }

  /** Refuses what waits and what comes, and resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { refuse } of this.#waiting.splice(0)) refuse(shuttingDown());
    if (this.#running === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  async #run<T>(isAlone: boolean, job: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    refuseAborted(signal);
    this.requireOpen();
    // Whoever waits is not overtaken.
    if (this.#waiting.length === 0 && this.#isFree(isAlone)) this.#take(isAlone);
    else await this.#turn(isAlone, signal);
    try {
      refuseAborted(signal);
      return await job();
    } finally {
      this.#give();
    }
  }

  #isFree(isAlone: boolean): boolean {
    return this.#running === 0 || (!isAlone && !this.#isAlone && this.#running < this.#width);
  }

  #take(isAlone: boolean): void {
    this.#running += 1;
    this.#isAlone = isAlone;
    this.#runningSince ??= performance.now();
  }

  #turn(isAlone: boolean, signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.length >= this.#limit) {
      throw new KeydError('too_many_requests', 'The queue of the TPM is full; try again', {
        retryAfterSeconds: 1,
      });
    }
    return new Promise((resolve, reject) => {
      // Who leaves gives up the place at once.
      const leave = (): void => {
        removeItem(this.#waiting, waiting);
        reject(abortReason(signal));
      };
      const stay = (): void => signal?.removeEventListener('abort', leave);
      const waiting: Waiting = {
        isAlone,
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

  // Places are handed on, never free in between: who waited runs before who just came.
  #give(): void {
    this.#running -= 1;
    this.#runningSince = this.#running === 0 ? undefined : performance.now();
    for (
      let next = this.#waiting[0];
      next !== undefined && this.#isFree(next.isAlone);
      next = this.#waiting[0]
    ) {
      this.#waiting.shift();
      this.#take(next.isAlone);
      next.start();
    }
    if (this.#running === 0) this.#idle?.();
  }
}

function shuttingDown(): KeydError {
  return new KeydError('shutting_down', 'The TPM backend is closed');
}
