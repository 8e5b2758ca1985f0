/**
 * Keeps one module host alive and logged in: starts it, connects, restarts it with backoff when it dies or
 * hangs, reconnects when the token comes back. Callers see only `request`, and the state.
 */
import type { Logger } from '../../base/logger.ts';
import { asKeydError, KeydError } from '../../wire/problem.ts';
import { refuseAborted } from '../refuse-aborted.ts';
import { ModuleHostClient } from './module-host-client.ts';
import { connectFault, ModuleHostGone, sameFault, toKeydError } from './module-host-faults.ts';
import type { TokenReport } from './module-host-messages.ts';
import type { ModuleHostProcessOptions } from './module-host-process.ts';
import { OPERATION, type Operation } from './module-host-protocol.ts';
import { recoveryOf, ReturnValueFault } from './return-value.ts';
import { aborted, signalOnce, sleep } from './wait.ts';

export interface ModuleHostTiming {
  /** Longest a module may take for a signature or a look-up before it counts as hanging. */
  readonly callTimeoutMs: number;
  /** The same for finding the token and generating a key. */
  readonly slowCallTimeoutMs: number;
  /** How long a call waits for a module host that is starting before it is answered `backend_starting`. */
  readonly startGraceMs: number;
  /** How often an idle token is looked at. */
  readonly probeIntervalMs: number;
  /** Longest wait between two attempts to start or connect. */
  readonly maxBackoffMs: number;
}

export const DEFAULT_TIMING: ModuleHostTiming = {
  callTimeoutMs: 10_000,
  slowCallTimeoutMs: 120_000,
  startGraceMs: 1_500,
  probeIntervalMs: 5_000,
  maxBackoffMs: 30_000,
};

export interface SupervisorOptions {
  readonly process: ModuleHostProcessOptions;
  readonly timing: ModuleHostTiming;
  readonly logger: Logger;
  /** Connects to the token and logs in, over a fresh process or one whose token was lost. */
  readonly connect: (client: ModuleHostClient) => Promise<TokenReport>;
  /** The process is started only after this; a pool's first login goes before the others (S17). */
  readonly after?: Promise<void>;
}

export type SupervisorStatus =
  | { readonly state: 'starting'; readonly sinceMs: number }
  | { readonly state: 'ready'; readonly client: ModuleHostClient; readonly token: TokenReport }
  | { readonly state: 'unavailable'; readonly fault: KeydError };

export interface RequestOptions<T> {
  readonly timeoutMs: number;
  /** Whether asking twice does no harm; then a token that was lost and found is asked again. */
  readonly repeatable: boolean;
  readonly signal?: AbortSignal;
  /** Reads the reply; a reply that can not be read ends the module host. */
  readonly decode: (body: Buffer) => T;
}

const FIRST_BACKOFF_MS = 100;
/** A process that was ready this long and dies is started again at once. */
const STABLE_MS = 10_000;
const MIN_RECONNECT_MS = 500;
const MAX_ATTEMPTS = 3;

export class ModuleHostSupervisor {
  readonly #options: SupervisorOptions;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #status: SupervisorStatus = { state: 'starting', sinceMs: performance.now() };
  #client: ModuleHostClient | undefined;
  #changed = signalOnce();
  readonly #firstReady = signalOnce();
  #closed = false;
  #failures = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  get status(): SupervisorStatus {
    return this.#status;
  }

  /** Resolves when the token was logged in to for the first time. */
  get firstReady(): Promise<void> {
    return this.#firstReady.promise;
  }

  /** Process id of the living module host. */
  get pid(): number | undefined {
    return this.#client?.alive === true ? this.#client.pid : undefined;
  }

  get outstanding(): number {
    return this.#client?.outstanding ?? 0;
  }

  /**
   * One request to the token. @throws KeydError `backend_starting`, `module_host_died`, `token_*`, and what the
   * module host refuses with
   */
  async request<T>(
    operation: Operation,
    parts: readonly Uint8Array[],
    options: RequestOptions<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const ready = this.#status.state === 'ready' ? this.#status : await this.#whenReady(options.signal);
      try {
        const body = await ready.client.call(operation, parts, options);
        return this.#decode(ready.client, body, options.decode);
      } catch (thrown) {
        const repeats = attempt < MAX_ATTEMPTS && this.#mayRepeat(ready, thrown, options.repeatable);
        if (!repeats) throw toKeydError(thrown);
      }
    }
  }

  async close(): Promise<void> {
    if (!this.#closed) {
      this.#set({ state: 'unavailable', fault: new KeydError('shutting_down', 'The key backend is closed') });
      this.#closed = true;
      this.#closing.abort();
      await this.#client?.close();
    }
    await this.#running;
  }

  #decode<T>(client: ModuleHostClient, body: Buffer, decode: (body: Buffer) => T): T {
    try {
      return decode(body);
    } catch (thrown) {
      client.kill();
      throw new KeydError('module_host_died', 'The PKCS#11 module host answered garbage and was ended', {
        cause: thrown,
      });
    }
  }

  #mayRepeat(ready: SupervisorStatus, thrown: unknown, repeatable: boolean): boolean {
    if (thrown instanceof ModuleHostGone) {
      if (this.#status === ready) this.#set({ state: 'starting', sinceMs: performance.now() });
      return !thrown.sent;
    }
    if (!(thrown instanceof ReturnValueFault)) return false;
    const recovery = recoveryOf(thrown.rv);
    if (recovery !== 'reconnect' && recovery !== 'login') return false;
    // Only the first of many calls that fail at once takes the token down; the loop below brings it back.
    if (this.#status === ready) {
      this.#options.logger.warn({ fault: thrown.message }, 'PKCS#11 token lost, reconnecting');
      this.#set({ state: 'starting', sinceMs: performance.now() });
    }
    return repeatable;
  }

  async #whenReady(
    signal: AbortSignal | undefined,
  ): Promise<Extract<SupervisorStatus, { readonly state: 'ready' }>> {
    for (;;) {
      refuseAborted(signal);
      const status = this.#status;
      if (status.state === 'ready') return status;
      if (status.state === 'unavailable') throw sameFault(status.fault);
      const remainingMs = status.sinceMs + this.#options.timing.startGraceMs - performance.now();
      if (remainingMs <= 0) {
        throw new KeydError(
          'backend_starting',
          'The PKCS#11 token is still being opened: try again shortly',
          {
            retryAfterSeconds: 1,
          },
        );
      }
      await Promise.race([this.#changed.promise, sleep(remainingMs, signal, false)]);
    }
  }

  #set(status: SupervisorStatus): void {
    // Closed is final, whatever still runs in the loop.
    if (this.#closed) return;
    this.#status = status;
    const { resolve } = this.#changed;
    this.#changed = signalOnce();
    resolve();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    if (this.#options.after !== undefined) await Promise.race([this.#options.after, aborted(signal)]);
    while (!this.#closed) {
      const client = this.#start();
      const startedMs = performance.now();
      if (client !== undefined) {
        await this.#serve(client);
        client.kill();
        const reason = await client.ended;
        // Not the end of a module host but of the backend.
        if (this.#isClosed()) return;
        this.#options.logger.warn({ pid: client.pid, reason }, 'PKCS#11 module host ended');
      }
      if (performance.now() - startedMs > STABLE_MS) this.#failures = 0;
      this.#failures++;
      if (this.#status.state === 'ready') this.#set({ state: 'starting', sinceMs: performance.now() });
      if (this.#failures > 1) await sleep(this.#backoffMs(this.#failures - 1), signal);
    }
  }

  // Some failures to spawn are thrown, others arrive as the end of the process.
  #start(): ModuleHostClient | undefined {
    try {
      this.#client = new ModuleHostClient(this.#options.process);
      return this.#client;
    } catch (thrown) {
      const reason = asKeydError(thrown).message;
      const message = `The PKCS#11 module host can not be started (${reason}): check its user and limits`;
      this.#set({
        state: 'unavailable',
        fault: new KeydError('backend_unavailable', message, { cause: thrown }),
      });
      return undefined;
    }
  }

  // A method, so that the compiler believes it may have changed.
  #isClosed(): boolean {
    return this.#closed;
  }

  /** Connects, and again whenever the token is lost; returns when the process is dead. */
  async #serve(client: ModuleHostClient): Promise<void> {
    const { signal } = this.#closing;
    for (let attempts = 0; client.alive && !signal.aborted;) {
      const lastConnectMs = performance.now();
      try {
        const token = await this.#options.connect(client);
        this.#set({ state: 'ready', client, token });
        this.#firstReady.resolve();
        attempts = 0;
        await this.#watch(client);
        // A token that fails right after each reconnect does not keep the library initializing.
        const pauseMs = lastConnectMs + MIN_RECONNECT_MS - performance.now();
        if (pauseMs > 0) await Promise.race([sleep(pauseMs, signal), client.ended]);
      } catch (thrown) {
        this.#set({ state: 'unavailable', fault: connectFault(thrown) });
        this.#options.logger.warn({ fault: connectFault(thrown).message }, 'PKCS#11 token unavailable');
        await Promise.race([sleep(this.#backoffMs(++attempts), signal), client.ended]);
      }
    }
  }

  /** Returns when the token is lost or the process dead; meanwhile looks at the idle token now and then. */
  async #watch(client: ModuleHostClient): Promise<void> {
    const { probeIntervalMs, callTimeoutMs } = this.#options.timing;
    const { signal } = this.#closing;
    const isReady = (): boolean => this.#status.state === 'ready' && client.alive;
    while (isReady()) {
      const changed = this.#changed.promise;
      await Promise.race([changed, client.ended, sleep(probeIntervalMs, signal)]);
      if (!isReady() || client.outstanding > 0) continue;
      try {
        await this.request(OPERATION.probe, [], {
          timeoutMs: callTimeoutMs,
          repeatable: false,
          decode: () => undefined,
        });
      } catch (thrown) {
        // `request` has set the state if the token is lost; a dead process ends the loop.
        this.#options.logger.debug({ fault: asKeydError(thrown).message }, 'PKCS#11 probe failed');
      }
    }
  }

  /** Exponential, between half of the value and the value. */
  #backoffMs(failures: number): number {
    const full = Math.min(FIRST_BACKOFF_MS * 2 ** Math.min(failures, 20), this.#options.timing.maxBackoffMs);
    return full * (0.5 + Math.random() / 2);
  }
}
