/**
 * Fair, bounded admission to a scarce thing (a TPM, token sessions, key generation): start-time fair queuing
 * (Goyal, Vin, Cheng 1996) over measured service time. A share that used little goes first, a burst of one
 * share delays the others by at most the operations already running, and a full queue says so at once.
 */
import { KeydError } from '../wire/problem.ts';
import { WaitingRoom, type Waiter } from './waiting-room.ts';

export interface FairQueueOptions {
  /** What is queued for, in messages: `the TPM`. */
  readonly name: string;
  /** Operations at the same time; where it depends on how long one takes, told by the moving average in milliseconds. */
  readonly concurrency: number | ((serviceMs: number) => number);
  /** Waiting operations of one share. */
  readonly maxWaitingPerShare: number;
  /** Waiting operations of all shares together. */
  readonly maxWaiting: number;
  /** Places beside `maxWaiting` that only internal work (renewal, anchors, revocation) may take (S20). */
  readonly reservedWaiting: number;
  /** First guess of one operation's time; measured from then on. */
  readonly expectedServiceMs: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export interface FairQueueRequest {
  /** Who waits: `callerShare(caller)`, or a fixed name for internal work. */
  readonly share: string;
  /** Work of the daemon itself: takes a reserved place when the others are gone. */
  readonly internal?: boolean;
  /** From now; the caller gets `deadline_exceeded` when it has passed, waiting or running. */
  readonly timeoutMs: number;
  /** Aborted when the caller has gone. */
  readonly signal?: AbortSignal;
}

export interface FairQueueState {
  readonly waiting: number;
  readonly running: number;
  /** Moving average of one operation, milliseconds. */
  readonly serviceMs: number;
}

/** Weight of the newest measurement in the moving average. */
const SMOOTHING = 0.1;

export class FairQueue {
  readonly #options: FairQueueOptions;
  readonly #now: () => number;
  readonly #room: WaitingRoom;
  readonly #idle: (() => void)[] = [];
  #running = 0;
  #serviceMs: number;
  #closed = false;

  constructor(options: FairQueueOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#room = new WaitingRoom(options);
    this.#serviceMs = options.expectedServiceMs;
  }

  /**
   * Runs `work` when it is this share's turn. `work` gets a signal that is aborted when the caller has gone
   * or the deadline has passed; the place stays taken until `work` has settled, because hardware can not be
   * interrupted. What `work` throws is thrown on.
   * @throws KeydError `too_many_requests` at once, with `retryAfterSeconds`, where the queue is full;
   *   `deadline_exceeded`; `caller_gone`; `shutting_down`
   */
  run<T>(request: FairQueueRequest, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(stopping());
    if (request.signal?.aborted === true) return Promise.reject(gone());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const abort = new AbortController();
    const refuse = (error: KeydError): void => {
      release();
      this.#room.remove(waiter);
      reject(error);
      abort.abort(error);
    };
    const onAbort = (): void => {
      refuse(gone());
    };
    const timer = setTimeout(() => {
      refuse(this.#late());
    }, request.timeoutMs);
    const release = (): void => {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
    };
    const waiter: Waiter = {
      share: request.share,
      internal: request.internal === true,
      refuse,
      start: async () => {
        // A promise that was refused meanwhile stays refused: settling it again has no effect.
        try {
          resolve(await work(abort.signal));
        } catch (error) {
          reject(error);
        } finally {
          release();
        }
      },
    };
    request.signal?.addEventListener('abort', onAbort, { once: true });
    this.#admit(waiter);
    return promise;
  }

  get state(): FairQueueState {
    return { waiting: this.#room.size, running: this.#running, serviceMs: this.#serviceMs };
  }

  /** Refuses what waits and all that comes (`shutting_down`); resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#room.takeAll()) {
      waiter.refuse(stopping());
    }
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #admit(waiter: Waiter): void {
    const { admitted, evicted } = this.#room.enter(waiter, this.#running < this.#places());
    evicted?.refuse(this.#full(evicted.share));
    if (!admitted) waiter.refuse(this.#full(waiter.share));
    this.#dispatch();
  }

  #dispatch(): void {
    while (this.#running < this.#places()) {
      const waiter = this.#room.next(this.#serviceMs);
      if (waiter === undefined) return;
      this.#running += 1;
      const startedAt = this.#now();
      const expectedMs = this.#serviceMs;
      void waiter.start().finally(() => {
        const tookMs = Math.max(0, this.#now() - startedAt);
        this.#running -= 1;
        this.#serviceMs += (tookMs - this.#serviceMs) * SMOOTHING;
        this.#room.charge(waiter.share, tookMs - expectedMs);
        this.#dispatch();
        if (this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
      });
    }
  }

  #places(): number {
    const { concurrency } = this.#options;
    return typeof concurrency === 'number' ? concurrency : concurrency(this.#serviceMs);
  }

  #late(): KeydError {
    return new KeydError('deadline_exceeded', `${this.#options.name} was not free in time; ask again later`, {
      retryAfterSeconds: this.#estimateSeconds(this.#room.size),
    });
  }

  #full(share: string): KeydError {
    const ahead = this.#room.aheadOf(share);
    return new KeydError('too_many_requests', `the queue for ${this.#options.name} is full`, {
      retryAfterSeconds: this.#estimateSeconds(ahead),
    });
  }

  /** When `operations` and what runs now will be done, whole seconds, at least one. */
  #estimateSeconds(operations: number): number {
    const ms = ((operations + this.#running) * this.#serviceMs) / this.#places();
    return Math.max(1, Math.ceil(ms / 1000));
  }
}

function gone(): KeydError {
  return new KeydError('caller_gone', 'the caller has gone');
}

function stopping(): KeydError {
  return new KeydError('shutting_down', 'the daemon is stopping; ask again when it is back');
}
