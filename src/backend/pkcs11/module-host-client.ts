/**
 * One module host process, from start to death: its socketpair, the calls in flight, and the judgement that it
 * hangs. Restarting is the supervisor's.
 */
import type { ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { removeItem } from '../../base/remove-item.ts';
import { KeydError } from '../../wire/problem.ts';
import { abortReason } from '../refuse-aborted.ts';
import { ModuleHostGone } from './module-host-faults.ts';
import { decodeRefusal, decodeReturnValue } from './module-host-messages.ts';
import { spawnModuleHost, type ModuleHostProcessOptions } from './module-host-process.ts';
import { encodeFrame, FrameReader, OUTCOME, type Frame, type Operation } from './module-host-protocol.ts';

export interface CallOptions {
  /** How long the module may take for this call alone, not counting calls before it. */
  readonly timeoutMs: number;
  /** Aborted: a call that was not sent is not sent, one that was is answered to nobody. */
  readonly signal?: AbortSignal;
  /** The parts are a secret: every copy made here is overwritten after it was sent. */
  readonly secret?: boolean;
}

interface Call {
  readonly requestId: number;
  readonly frame: Buffer;
  readonly options: CallOptions;
  readonly resolve: (body: Buffer) => void;
  readonly reject: (reason: unknown) => void;
  sentAtMs: number;
  settled: boolean;
}

/** Calls that are with the process at once. Few, so that an abandoned call is mostly still here and not signed. */
export const MODULE_HOST_WINDOW = 16;
/** Calls that wait here; a fair queue stands before this one, so it fills only if that fails. */
const MAX_WAITING = 4096;
const HANG_CHECK_MS = 100;
const CLOSE_GRACE_MS = 2_000;

export class ModuleHostClient {
  /** Resolves, once, with the reason why the process ended. */
  readonly ended: Promise<string>;
  readonly #process: ChildProcess;
  readonly #socket: Duplex;
  readonly #reader = new FrameReader();
  /**
   * Both in order of their request ids. Arrays, because a Map that calls come into and go from is rebuilt every few of
   * them, and V8 has each of its tables hold the next one: what outlives a collection holds all that came after it.
   */
  readonly #waiting: Call[] = [];
  readonly #sent: Call[] = [];
  #outgoing: Call[] = [];
  #flushScheduled = false;
  #nextRequestId = 1;
  #lastProgressMs = 0;
  #hangTimer: NodeJS.Timeout | undefined;
  #hangSuspected = false;
  #endReason: string | undefined;
  readonly #resolveEnded: (reason: string) => void;

  constructor(options: ModuleHostProcessOptions) {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    const { process, socket } = spawnModuleHost(options);
    this.#process = process;
    this.#socket = socket;
    this.#process.once('error', (error) => {
      this.#end(`can not be started: ${error.message}`);
    });
    this.#process.once('exit', (code, signal) => {
      this.#end(signal === null ? `ended with status ${code ?? 0}` : `was ended by ${signal}`);
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#receive(chunk);
    });
    // A process that closed its socket is of no use; its exit, with the reason, mostly comes at the same time.
    this.#socket.once('close', () => {
      this.#process.kill('SIGKILL');
    });
    this.#socket.on('error', () => {
      this.#process.kill('SIGKILL');
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get alive(): boolean {
    return this.#endReason === undefined;
  }

  /** Calls not yet answered. */
  get outstanding(): number {
    return this.#sent.length + this.#waiting.length;
  }

  /**
   * One request to the module; resolves with the body of its reply. Rejects with ReturnValueFault,
   * ModuleHostGone, the signal's reason, or KeydError as refused by the module host.
   */
  call(operation: Operation, parts: readonly Uint8Array[], options: CallOptions): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    if (this.#endReason !== undefined) {
      reject(new ModuleHostGone(this.#endReason, false));
    } else if (options.signal?.aborted === true) {
      reject(abortReason(options.signal));
    } else if (this.#waiting.length >= MAX_WAITING) {
      reject(
        new KeydError('too_many_requests', 'Too many calls wait for the token', { retryAfterSeconds: 1 }),
      );
    } else {
      const requestId = this.#nextRequestId;
      this.#nextRequestId = requestId === 0xffff_ffff ? 1 : requestId + 1;
      const frame = encodeFrame(requestId, operation, ...parts);
      const call: Call = { requestId, frame, options, resolve, reject, sentAtMs: 0, settled: false };
      this.#waiting.push(call);
      if (options.signal !== undefined) this.#watchAbort(call, options.signal, promise);
      this.#fillWindow();
    }
    return promise;
  }

  /** Ends the process at once. */
  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /** Lets the process finish the call it is at and ends it. */
  async close(): Promise<void> {
    this.#socket.end();
    const timer = setTimeout(() => {
      this.kill();
    }, CLOSE_GRACE_MS);
    await this.ended;
    clearTimeout(timer);
  }

  #watchAbort(call: Call, signal: AbortSignal, promise: Promise<Buffer>): void {
    const onAbort = (): void => {
      if (call.settled) return;
      call.settled = true;
      removeItem(this.#waiting, call);
      call.reject(abortReason(signal));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const forget = (): void => {
      signal.removeEventListener('abort', onAbort);
    };
    promise.then(forget, forget);
  }

  #fillWindow(): void {
    while (this.#sent.length < MODULE_HOST_WINDOW) {
      const call = this.#waiting.shift();
      if (call === undefined) return;
      this.#sent.push(call);
      this.#outgoing.push(call);
      if (this.#flushScheduled) continue;
      this.#flushScheduled = true;
      // After this turn's other callers: one write for all of them.
      setImmediate(() => {
        this.#flush();
      });
    }
  }

  #flush(): void {
    this.#flushScheduled = false;
    const calls = this.#outgoing;
    this.#outgoing = [];
    if (this.#endReason !== undefined) return;
    const frames: Buffer[] = [];
    let secret = false;
    const now = performance.now();
    for (const call of calls) {
      if (call.settled) {
        // Abandoned in this same turn: never sent.
        removeItem(this.#sent, call);
        continue;
      }
      call.sentAtMs = now;
      frames.push(call.frame);
      secret ||= call.options.secret === true;
    }
    if (frames.length < calls.length) this.#fillWindow();
    if (frames.length === 0) return;
    const [only, ...others] = frames;
    const octets = only !== undefined && others.length === 0 ? only : Buffer.concat(frames);
    this.#socket.write(octets, () => {
      if (!secret) return;
      octets.fill(0);
      for (const frame of frames) frame.fill(0);
    });
    this.#hangTimer ??= setInterval(() => {
      this.#checkHang();
    }, HANG_CHECK_MS);
  }

  #receive(chunk: Buffer): void {
    if (this.#endReason !== undefined) return;
    this.#lastProgressMs = performance.now();
    this.#hangSuspected = false;
    try {
      for (const frame of this.#reader.push(chunk)) this.#settle(frame);
    } catch (thrown) {
      // What speaks out of turn or out of form once is not trusted again.
      const reason = thrown instanceof KeydError ? thrown.message : String(thrown);
      this.#end(`broke the protocol (${reason})`);
      this.kill();
      return;
    }
    this.#fillWindow();
    if (this.#sent.length === 0) this.#stopHangTimer();
  }

  // Requests are answered in the order they were sent.
  #settle(frame: Frame): void {
    const [call] = this.#sent;
    if (call?.requestId !== frame.requestId || call.sentAtMs === 0) {
      throw new KeydError('malformed_structure', `it answered ${frame.requestId}, which was not asked`);
    }
    const outcome = readOutcome(frame);
    this.#sent.shift();
    if (call.settled) return;
    call.settled = true;
    if (outcome.ok) call.resolve(outcome.body);
    else call.reject(outcome.fault);
  }

  #checkHang(): void {
    const [call] = this.#sent;
    if (call === undefined || call.sentAtMs === 0) return;
    const waitedMs = performance.now() - Math.max(call.sentAtMs, this.#lastProgressMs);
    if (waitedMs <= call.options.timeoutMs) return;
    if (!this.#hangSuspected) {
      // Perhaps it was this process that stood still: the answer may be waiting to be read.
      this.#hangSuspected = true;
      return;
    }
    this.#end(`did not answer within ${call.options.timeoutMs} ms and was ended`);
    this.kill();
  }

  #stopHangTimer(): void {
    clearInterval(this.#hangTimer);
    this.#hangTimer = undefined;
  }

  #end(reason: string): void {
    if (this.#endReason !== undefined) return;
    this.#endReason = reason;
    this.#stopHangTimer();
    this.#socket.destroy();
    const unanswered = [...this.#sent.splice(0), ...this.#waiting.splice(0)];
    for (const call of unanswered) {
      if (call.settled) continue;
      call.settled = true;
      call.reject(new ModuleHostGone(reason, call.sentAtMs !== 0));
    }
    this.#resolveEnded(reason);
  }
}

type ReadOutcome =
  { readonly ok: true; readonly body: Buffer } | { readonly ok: false; readonly fault: Error };

function readOutcome(frame: Frame): ReadOutcome {
  switch (frame.kind) {
    case OUTCOME.ok:
      return { ok: true, body: frame.body };
    case OUTCOME.returnValue:
      return { ok: false, fault: decodeReturnValue(frame.body) };
    case OUTCOME.refused:
      return { ok: false, fault: decodeRefusal(frame.body) };
    default:
      throw new KeydError('malformed_structure', `it answered with the unknown outcome ${frame.kind}`);
  }
}
