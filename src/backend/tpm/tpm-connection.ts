/**
 * The one way to the TPM: serialised, opened when first needed, and mended by itself. What hardware can
 * do to us in the middle of an operation (TCTI death, reset, full slots, RETRY) is answered here once.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { silentLogger, type Logger } from '../../base/logger.ts';
import { KeydError, asKeydError } from '../../wire/problem.ts';
import { TPM_RC } from '../../wire/tpm/constants.ts';
import { ContextCache } from './context-cache.ts';
import { EsysConnection, TssFault } from './esys.ts';
import { isTpmCode, recoveryOf, tpmError, type Recovery } from './response-code.ts';
import { SecureSessions } from './secure-sessions.ts';
import { TurnQueue } from './turn-queue.ts';
import { existingHandles, readFacts, type TpmFacts } from './tpm-facts.ts';
import { adoptTpm, recogniseTpm, type Srk, type TpmMemory } from './tpm-identity.ts';

/** A recognised TPM and what is loaded in it; void after any recovery by `reopen`. */
export interface OpenTpm {
  readonly esys: EsysConnection;
  readonly srk: Srk;
  readonly facts: TpmFacts;
  readonly objects: ContextCache;
  readonly sessions: SecureSessions;
}

/** What came of an operation that ran beside others, and on which connection. */
interface FailedAttempt {
  readonly tpm: OpenTpm;
  readonly thrown: unknown;
}

export interface TpmConnectionOptions {
  /** TCTI configuration: `device:/dev/tpmrm0`, `swtpm:path=...`. */
  readonly tcti: string;
  readonly memory: TpmMemory;
  readonly logger?: Logger;
  /** How many operations may wait. */
  readonly queueLimit?: number;
}

const DEFAULT_QUEUE_LIMIT = 1024;
/** An operation is tried again this often at most; lockout and auth failures never. */
const MAX_RECOVERIES = 4;
const RETRY_DELAY_MS = 20;
/** Without a resource manager, slots that nobody uses are left to others after this long. */
const IDLE_MS = 250;

export class TpmConnection {
  readonly tcti: string;
  readonly #memory: TpmMemory;
  readonly #logger: Logger;
  readonly #queue: TurnQueue;
  #esys: EsysConnection | undefined;
  #tpm: OpenTpm | undefined;
  #facts: TpmFacts | undefined;
  #fault: KeydError | undefined;
  #closed = false;
  /** What is loaded when the TPM is next opened was left by a crash. */
  #reclaim = false;
  #idle: NodeJS.Timeout | undefined;

  constructor(options: TpmConnectionOptions) {
    this.tcti = options.tcti;
    this.#memory = options.memory;
    this.#logger = options.logger ?? silentLogger;
    this.#queue = new TurnQueue(options.queueLimit ?? DEFAULT_QUEUE_LIMIT);
  }

  /** Why the TPM is not usable; undefined while it is. */
  get fault(): KeydError | undefined {
    return this.#fault;
  }

  /** As read when the TPM was last opened. */
  get facts(): TpmFacts | undefined {
    return this.#facts;
  }

  /** For how long the present operation has been running, in milliseconds; undefined while idle. */
  get runningForMs(): number | undefined {
    return this.#queue.runningForMs;
  }

  /** @throws KeydError `shutting_down` after `close` */
  requireOpen(): void {
    this.#queue.requireOpen();
  }

  /**
   * Runs `work` alone on the TPM. After a fault that can be mended it runs again from its start, so it
   * must not change what is outside the TPM's volatile memory before its last command.
   * @throws KeydError `tpm_*`, `too_many_requests`, `caller_gone`, `shutting_down`
   */
  async run<T>(work: (tpm: OpenTpm) => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await this.#queue.alone(() => this.#attempt(work), signal);
    } finally {
      this.#restWhenIdle();
    }
  }

  /**
   * As `run`, but first tries `quick`, one command over what is loaded, while others do the same. Where it answers
   * undefined, because it would take more, or faults in a way that can be mended, `work` has its turn alone.
   */
  async runQuickly<T>(
    quick: (tpm: OpenTpm) => Promise<T | undefined>,
    work: (tpm: OpenTpm) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    let failed: FailedAttempt | undefined;
    try {
      const done = await this.#queue.beside(async () => {
        const tpm = this.#tpm;
        if (tpm === undefined) return undefined;
        try {
          return await quick(tpm);
        } catch (thrown) {
          failed = { tpm, thrown };
          return undefined;
        }
      }, signal);
      return done ?? (await this.#queue.alone(() => this.#attempt(work, failed), signal));
    } finally {
      this.#restWhenIdle();
    }
  }

  /** Opens the TPM if it is not, and asks it for a sign of life. */
  async probe(): Promise<void> {
    await this.run((tpm) => tpm.esys.readClock());
  }

  /** Accepts the TPM that is there now as the one to keep keys in, after `tpm_cleared` or `tpm_replaced`. */
  adopt(): Promise<void> {
    return this.#queue.alone(async () => {
      await this.#abandon();
      const esys = await this.#connect();
      try {
        const { name } = await adoptTpm(esys, this.#memory);
        this.#logger.warn({ srkName: name }, 'this TPM was accepted for the keys from now on');
      } catch (thrown) {
        throw tpmError(thrown);
      }
      await this.#open();
    });
  }

  /** Refuses what waits, ends what is loaded, and disconnects. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#idle);
    await this.#queue.close();
    this.#tpm?.sessions.forget();
    this.#tpm = undefined;
    this.#fault = new KeydError('shutting_down', 'The TPM backend is closed');
    await this.#esys?.close();
  }

  async #attempt<T>(work: (tpm: OpenTpm) => Promise<T>, failed?: FailedAttempt): Promise<T> {
    for (let recoveries = 0; ; recoveries += 1) {
      try {
        // What failed on a connection that another operation has mended since is not mended again.
        if (recoveries === 0 && failed !== undefined && failed.tpm === this.#tpm) throw failed.thrown;
        return await work(await this.#open());
      } catch (thrown) {
        const recovery = recoveryOf(thrown) ?? (await this.#recoveryOfLostObjects(thrown));
        const error = tpmError(thrown);
        if (recovery === undefined || recoveries >= MAX_RECOVERIES) throw error;
        this.#logger.warn(
          { err: error, recovery, attempt: recoveries + 1 },
          'the TPM faulted; mending and trying again',
        );
        await this.#recover(recovery, recoveries);
      }
    }
  }

  // An unexplained refusal may come from another object under our object's number. Looking is no attempt at
  // authorising; only where that was so is the operation tried again.
  async #recoveryOfLostObjects(thrown: unknown): Promise<Recovery | undefined> {
    if (!(thrown instanceof TssFault) || this.#tpm === undefined) return undefined;
    return (await this.#tpm.objects.isConsistent()) ? undefined : 'reopen';
  }

  async #recover(recovery: Recovery, recoveries: number): Promise<void> {
    switch (recovery) {
      case 'reopen':
        await this.#abandon();
        return;
      case 'make-room':
        if (recoveries === 0) {
          await this.#tolerantly(async ({ objects, sessions }) => {
            await sessions.end();
            await objects.flush();
          });
          return;
        }
        this.#reclaim = true;
        await this.#abandon();
        return;
      case 'new-sessions':
        await this.#tolerantly(({ sessions }) => sessions.end());
        return;
      case 'again':
        await delay(RETRY_DELAY_MS * 2 ** recoveries);
    }
  }

  // What can not even be flushed is lost with the connection.
  async #tolerantly(mend: (tpm: OpenTpm) => Promise<void>): Promise<void> {
    if (this.#tpm === undefined) return;
    try {
      await mend(this.#tpm);
    } catch (thrown) {
      this.#logger.warn({ err: tpmError(thrown) }, 'flushing failed; connecting anew');
      await this.#abandon();
    }
  }

  // Saved contexts bring back what is needed again for a tenth of a signature's cost.
  #restWhenIdle(): void {
    if (this.#idle !== undefined) {
      this.#idle.refresh();
      return;
    }
    this.#idle = setTimeout(() => {
      if (this.#closed || this.#queue.runningForMs !== undefined) return;
      this.#queue
        .alone(() => this.#tolerantly(({ objects }) => objects.flush()))
        .catch((thrown: unknown) => {
          this.#logger.warn({ err: thrown }, 'what is idle in the TPM could not be flushed');
        });
    }, IDLE_MS).unref();
  }

  /** Leaves nothing of what was loaded; the next `#open` connects anew. */
  async #abandon(): Promise<void> {
    this.#tpm?.sessions.forget();
    this.#tpm = undefined;
    const esys = this.#esys;
    this.#esys = undefined;
    await esys?.close();
  }

  async #open(): Promise<OpenTpm> {
    if (this.#tpm !== undefined) return this.#tpm;
    try {
      this.#tpm = await this.#prepare();
    } catch (thrown) {
      await this.#abandon();
      // A daemon that was killed leaves its slots full where no resource manager cleans up after it.
      this.#reclaim = recoveryOf(thrown) === 'make-room' && !this.#reclaim;
      if (this.#reclaim) return this.#open();
      this.#fault = asKeydError(tpmError(thrown));
      throw this.#fault;
    }
    this.#facts = this.#tpm.facts;
    this.#fault = undefined;
    this.#logger.info({ srkName: this.#tpm.srk.name, ...this.#facts }, 'the TPM is open');
    return this.#tpm;
  }

  async #prepare(): Promise<OpenTpm> {
    const esys = await this.#connect();
    if (this.#reclaim) {
      const flushed = await flushEverything(esys);
      this.#logger.warn({ flushed }, 'flushed what was left loaded in the TPM');
      this.#reclaim = false;
    }
    const facts = await readFacts(esys);
    const srk = await recogniseTpm(esys, this.#memory);
    const objects = new ContextCache(esys);
    return { esys, facts, srk, objects, sessions: new SecureSessions(esys, srk, objects) };
  }

  async #connect(): Promise<EsysConnection> {
    this.#esys ??= await EsysConnection.open(this.tcti);
    try {
      await this.#esys.readClock();
    } catch (thrown) {
      if (!isTpmCode(thrown, TPM_RC.INITIALIZE)) throw thrown;
      await this.#esys.startup('clear');
    }
    return this.#esys;
  }
}

/**
 * Flushes every transient object and session that this connection can see. Through a resource manager those are
 * this process's own; without one the TPM has one user, and that is us (docs/decisions/0007).
 */
async function flushEverything(esys: EsysConnection): Promise<number> {
  const handles = [
    ...(await existingHandles(esys, 0x80000000, 0x80ffffff)),
    ...(await existingHandles(esys, 0x02000000, 0x03ffffff)),
  ];
  for (const tpmHandle of handles) await esys.flushContext(await esys.fromTpmHandle({ tpmHandle }));
  return handles.length;
}
