/**
 * The TPM through tpm2-tss: the only import of `esys.node`. One `EsysConnection` owns one ESYS
 * context and one thread; commands run in the order in which they are called.
 */
import { addonLoader } from '../../base/load-addon.ts';
import { endAtExit } from '../../base/end-at-exit.ts';
import { KeydError } from '../../wire/problem.ts';
import { EsysCommands } from './esys-commands.ts';
import { refuseAborted } from '../refuse-aborted.ts';
import { EsysHandle, type HandleKind, type SessionAttributes, type SessionUse } from './esys-handle.ts';

export * from './esys-handle.ts';
export type * from './esys-types.ts';

/** A TSS2 response code (layer bits included) and the C function that returned it. */
export class TssFault extends Error {
  readonly rc: number;
  readonly call: string;

  constructor(rc: number, call: string) {
    super(`${call} failed: rc 0x${rc.toString(16)}`);
    this.name = 'TssFault';
    this.rc = rc;
    this.call = call;
  }
}

/** How many commands may wait in one connection's queue unless `open` says otherwise. */
const DEFAULT_QUEUE_LIMIT = 1024;

/** The addon numbers what it makes from here; below are ESYS's own names for PCRs and hierarchies. */
const FIRST_OWN_ID = 2 ** 32;

interface NativeConnection {
  /** @param ticket by which it can be taken back; 0 for none */
  readonly run: (command: string, args: object, ticket: number) => Promise<unknown>;
  readonly cancel: (ticket: number) => void;
  readonly discard: (id: number) => void;
  readonly reopen: () => Promise<unknown>;
  readonly close: () => Promise<unknown>;
  readonly isDead: () => boolean;
  readonly end: () => void;
}

interface NativeModule {
  readonly EsysConnection: new (tcti: string, queueLimit: number) => NativeConnection;
}

const native = addonLoader('esys', 'backend_unavailable', 'The TPM addon') as () => NativeModule;

/**
 * A connection to one TPM. Commands reject with `TssFault`, with KeydError `too_many_requests` if the
 * queue is full, and with `tpm_unavailable` after `close`. A handle that is dropped is flushed.
 */
export class EsysConnection extends EsysCommands {
  readonly #native: NativeConnection;
  readonly #dropped: FinalizationRegistry<number>;
  /** Handles of this connection: another's number would mean another resource here. */
  readonly #own = new WeakSet<EsysHandle>();
  readonly #forgetExit: () => void;
  #closing: Promise<void> | undefined;
  #tickets = 0;

  private constructor(connection: NativeConnection) {
    super();
    this.#native = connection;
    // Or what it has loaded would stay in a TPM without a resource manager.
    this.#forgetExit = endAtExit(connection);
    this.#dropped = new FinalizationRegistry((id) => {
      connection.discard(id);
    });
  }

  /**
   * Connects by TCTI configuration: `device:/dev/tpmrm0`, `swtpm:path=/run/x/tpm` (the control socket
   * is `/run/x/tpm.ctrl`) or `swtpm:host=127.0.0.1,port=2321` (Tss2_TctiLdr_Initialize, Esys_Initialize).
   */
  static async open(tcti: string, options: { readonly queueLimit?: number } = {}): Promise<EsysConnection> {
    const connection = new (native().EsysConnection)(tcti, options.queueLimit ?? DEFAULT_QUEUE_LIMIT);
    const opened = new EsysConnection(connection);
    try {
      await opened.reopen();
    } catch (thrown) {
      await opened.close();
      throw thrown;
    }
    return opened;
  }

  /** True after a TCTI fault: the ESYS context is of no more use until `reopen`. */
  get isDead(): boolean {
    return this.#native.isDead();
  }

  /** Gives up context and handles and connects anew (Esys_Finalize, Esys_Initialize). Queued commands come first. */
  async reopen(): Promise<void> {
    await this.#settle(this.#native.reopen());
  }

  /** Flushes what is still loaded, ends the thread and the context. Queued commands come first. */
  async close(): Promise<void> {
    this.#closing ??= this.#settle(this.#native.close()).then(() => {
      this.#forgetExit();
    });
    await this.#closing;
  }

  protected override async run<T>(command: string, args: object, signal?: AbortSignal): Promise<T> {
    if (signal === undefined)
      return (await this.#settle(this.#native.run(command, this.#lower(args), 0))) as T;
    refuseAborted(signal);
    const ticket = (this.#tickets += 1);
    const takeBack = (): void => {
      this.#native.cancel(ticket);
    };
    const reply = this.#native.run(command, this.#lower(args), ticket);
    signal.addEventListener('abort', takeBack, { once: true });
    try {
      return (await this.#settle(reply)) as T;
    } catch (thrown) {
      if (isTakenBack(thrown)) refuseAborted(signal);
      throw thrown;
    } finally {
      signal.removeEventListener('abort', takeBack);
    }
  }

  async #settle(reply: Promise<unknown>): Promise<unknown> {
    let value: unknown;
    try {
      value = await reply;
    } catch (thrown) {
      throw typed(thrown);
    }
    return isNativeReply(value) ? this.#lift(value) : value;
  }

  /** Replaces the addon's {id, kind} by a handle that is flushed when it is dropped. */
  #lift(reply: NativeReply): object {
    const handle = new EsysHandle(reply.handle.id, reply.handle.kind);
    this.#dropped.register(handle, handle.id);
    this.#own.add(handle);
    return { ...reply, handle };
  }

  /** Handles by their numbers, as the addon takes them. */
  #lower(args: object): object {
    const entries = Object.entries(args).map(([name, value]: [string, unknown]) => [
      name,
      value instanceof EsysHandle
        ? this.#idOf(value)
        : name === 'sessions'
          ? this.#lowerSessions(value)
          : value,
    ]);
    return Object.fromEntries(entries) as object;
  }

  #lowerSessions(value: unknown): unknown {
    if (!Array.isArray(value)) return value;
    return (value as readonly (SessionUse | undefined)[]).map((use) =>
      use === undefined
        ? undefined
        : {
            session: this.#idOf(use.session),
            ...(use.attributes === undefined ? {} : { attributes: sessionBits(use.attributes) }),
          },
    );
  }

  #idOf(handle: EsysHandle): number {
    const isEveryones = handle.id < FIRST_OWN_ID && (handle.kind === 'permanent' || handle.kind === 'pcr');
    if (!isEveryones && !this.#own.has(handle))
      throw new TypeError('the handle belongs to another connection');
    return handle.id;
  }
}

interface NativeReply {
  readonly handle: { readonly id: number; readonly kind: HandleKind };
}

function isNativeReply(value: unknown): value is NativeReply {
  return typeof value === 'object' && value !== null && 'handle' in value;
}

/** TPMA_SESSION, TPM 2.0 Part 2, 8.4. */
function sessionBits(attributes: SessionAttributes): number {
  return (
    (attributes.continueSession === true ? 0x01 : 0) |
    (attributes.auditExclusive === true ? 0x02 : 0) |
    (attributes.decrypt === true ? 0x20 : 0) |
    (attributes.encrypt === true ? 0x40 : 0) |
    (attributes.audit === true ? 0x80 : 0)
  );
}

function isTakenBack(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'CANCELLED';
}

function typed(thrown: unknown): unknown {
  if (thrown instanceof Error && 'rc' in thrown && 'call' in thrown) {
    return new TssFault(Number(thrown.rc), String(thrown.call));
  }
  if (thrown instanceof Error && 'code' in thrown) {
    if (thrown.code === 'QUEUE_FULL') {
      return new KeydError('too_many_requests', 'The TPM queue is full; try again', {
        cause: thrown,
        retryAfterSeconds: 1,
      });
    }
    if (thrown.code === 'CLOSED')
      return new KeydError('tpm_unavailable', 'The TPM connection is closed', { cause: thrown });
  }
  return thrown;
}
