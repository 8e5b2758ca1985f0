/**
 * Fair, bounded admission to a scarce thing (a TPM, token sessions, key generation): start-time fair queuing
 * (Goyal, Vin, Cheng 1996) over measured service time. A share that used little goes first, a burst of one
 * share delays the others by at most the operations already running, and a full queue says so at once.
 */
import { KeydError, type ErrorCode } from '../wire/problem.ts';
import { removeItem } from './remove-item.ts';
import { WaitingRoom, type Waiter } from './waiting-room.ts';

export interface FairQueueOptions {
  /** What is queued for, in messages: `the TPM`. */
  readonly name: string;
  /** Operations at the same time; where it depends on how long one takes, told by the moving average in milliseconds. */
  readonly concurrency: number | ((serviceMs: number) => number);
  /**
   * Given for hardware that does one operation at a time, so that what is begun waits there for those before it: by how
   * much the next is begun before the one that runs is expected to be done, told by the moving average in milliseconds,
   * so that hardware has its next when it is done with one. Undefined, it waits for that.
   */
  readonly leadMs?: (serviceMs: number) => number | undefined;
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

/** Is told what becomes of every request. Times in milliseconds. */
export interface QueueWatcher {
  /** Its turn has come. */
  readonly started: (waitedMs: number) => void;
  /** It was refused; `waiting` before its turn, so that nothing was done for it, or `running`. */
  readonly refused: (code: ErrorCode, stage: 'waiting' | 'running') => void;
}

/** Weight of the newest measurement in the moving average. */
const SMOOTHING = 0.1;
/** The most that one measurement counts for, in averages: a key generation says little of the signatures to come. */
const MAX_OUTLIER = 4;

export class FairQueue {
  readonly #options: FairQueueOptions;
  readonly #now: () => number;
  readonly #room: WaitingRoom;
  readonly #idle: (() => void)[] = [];
  /** When those that run began, oldest first. */
  readonly #runningSince: number[] = [];
  #lead: NodeJS.Timeout | undefined;
  #lastEndedAt = Number.NEGATIVE_INFINITY;
  #serviceMs: number;
  #watcher: QueueWatcher | undefined;
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
   * @throws KeydError `too_many_requests` at once, with `retryAfterSeconds`, where the queue is full or so long
   *   that the deadline would pass; `deadline_exceeded`; `caller_gone`; `shutting_down`
   */
  run<T>(request: FairQueueRequest, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(this.#refusal(stopping(), 'waiting'));
    if (request.signal?.aborted === true) return Promise.reject(this.#refusal(gone(), 'waiting'));
    const { share, timeoutMs } = request;
    const enteredAt = this.#now();
    let stage: 'waiting' | 'running' = 'waiting';
    let isRefused = false;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const abort = new AbortController();
    const refuse = (error: KeydError): void => {
      isRefused = true;
      release();
      this.#room.remove(waiter);
      reject(this.#refusal(error, stage));
      abort.abort(error);
    };
    const onAbort = (): void => {
      refuse(gone());
    };
    const timer = setTimeout(() => {
      this.#room.remove(waiter);
      refuse(this.#late(share));
    }, timeoutMs);
    const release = (): void => {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
    };
    const waiter: Waiter = {
      share,
      internal: request.internal === true,
      refuse,
      start: async () => {
        stage = 'running';
        this.#watcher?.started(this.#now() - enteredAt);
        // A promise that was refused meanwhile stays refused: settling it again has no effect.
        try {
          resolve(await work(abort.signal));
        } catch (error) {
          reject(error);
        } finally {
          release();
        }
        return !isRefused;
      },
    };
    request.signal?.addEventListener('abort', onAbort, { once: true });
    this.#admit(waiter, timeoutMs);
    return promise;
  }

  /** Tells `watcher` of every request from now on; one at a time. */
  watch(watcher: QueueWatcher): void {
    this.#watcher = watcher;
  }

  get state(): FairQueueState {
    return { waiting: this.#room.size, running: this.#runningSince.length, serviceMs: this.#serviceMs };
  }

  /** Refuses what waits and all that comes (`shutting_down`); resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#room.takeAll()) {
      waiter.refuse(stopping());
    }
    if (this.#runningSince.length > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #admit(waiter: Waiter, timeoutMs: number): void {
    const waitMs = this.#expectedWaitMs(waiter.share);
    // A share with nothing waiting is let in whatever the estimate says, or a wrong one could never be mended.
    if (waitMs > timeoutMs && !waiter.internal && this.#room.waitingOf(waiter.share) > 0) {
      waiter.refuse(this.#hopeless(waitMs - timeoutMs));
      return;
    }
    const { admitted, evicted } = this.#room.enter(waiter, this.#hasPlace());
    evicted?.refuse(this.#full(evicted.share));
    if (!admitted) waiter.refuse(this.#full(waiter.share));
    this.#dispatch();
  }

  #dispatch(): void {
    while (this.#hasPlace()) {
      const waiter = this.#room.next(this.#serviceMs);
      if (waiter === undefined) return;
      const startedAt = this.#now();
      this.#runningSince.push(startedAt);
      const expectedMs = this.#serviceMs;
      void waiter.start().then((isServed) => {
        const endedAt = this.#now();
        const tookMs = Math.max(0, endedAt - this.#begunAt(startedAt));
        this.#lastEndedAt = endedAt;
        removeItem(this.#runningSince, startedAt);
        // What was taken back before hardware began says nothing of how quick hardware is.
        if (isServed || tookMs > this.#serviceMs) this.#learn(tookMs);
        this.#room.charge(waiter.share, tookMs - expectedMs);
        this.#dispatch();
        if (this.#runningSince.length === 0) for (const resolve of this.#idle.splice(0)) resolve();
      });
    }
  }

  /** When hardware began with it, where it does one at a time: when the one before it had ended. */
  #begunAt(startedAt: number): number {
    return this.#isSerial ? Math.max(startedAt, this.#lastEndedAt) : startedAt;
  }

  get #isSerial(): boolean {
    return this.#options.leadMs !== undefined;
  }

  #learn(tookMs: number): void {
    const countedMs = Math.min(tookMs, MAX_OUTLIER * this.#serviceMs);
    this.#serviceMs += (countedMs - this.#serviceMs) * SMOOTHING;
  }

  /** Whether one more may begin; if it may soon, comes back to it then. */
  #hasPlace(): boolean {
    const free = this.#places() - this.#runningSince.length;
    if (free !== 0) return free > 0;
    const leadMs = this.#options.leadMs?.(this.#serviceMs);
    const [oldest] = this.#runningSince;
    if (leadMs === undefined || oldest === undefined) return false;
    const dueInMs = this.#begunAt(oldest) + this.#serviceMs - leadMs - this.#now();
    if (dueInMs <= 0) return true;
    this.#lead ??= setTimeout(() => {
      this.#lead = undefined;
      this.#dispatch();
      // Timers cut off what is no whole millisecond, and would come too early.
    }, Math.ceil(dueInMs));
    return false;
  }

  #places(): number {
    const { concurrency } = this.#options;
    return typeof concurrency === 'number' ? concurrency : concurrency(this.#serviceMs);
  }

  #refusal(error: KeydError, stage: 'waiting' | 'running'): KeydError {
    this.#watcher?.refused(error.code, stage);
    return error;
  }

  #late(share: string): KeydError {
    return new KeydError('deadline_exceeded', `${this.#options.name} was not free in time; ask again later`, {
      retryAfterSeconds: wholeSeconds(this.#expectedWaitMs(share)),
    });
  }

  #full(share: string): KeydError {
    return new KeydError('too_many_requests', `the queue for ${this.#options.name} is full`, {
      retryAfterSeconds: wholeSeconds(this.#expectedWaitMs(share)),
    });
  }

  #hopeless(tooLongByMs: number): KeydError {
    return new KeydError(
      'too_many_requests',
      `this caller's requests for ${this.#options.name} would wait past their deadline`,
      { retryAfterSeconds: wholeSeconds(tooLongByMs) },
    );
  }

  /** How long a further request of this share would wait: for what runs, its own, and the turns of others. */
  #expectedWaitMs(share: string): number {
    const operations = this.#room.aheadOf(share) + this.#runningSince.length;
    return (operations * this.#serviceMs) / (this.#isSerial ? 1 : this.#places());
  }
}

function wholeSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

function gone(): KeydError {
  return new KeydError('caller_gone', 'the caller has gone');
}

function stopping(): KeydError {
  return new KeydError('shutting_down', 'the daemon is stopping; ask again when it is back');
}
