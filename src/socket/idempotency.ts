/**
 * Idempotency-Key: a repeated call gets the first call's answer instead of a second effect (S12). A key
 * belongs to one caller and one request; the answer is durable before it is sent.
 */
import { createHash } from 'node:crypto';
import { callerShare, type Caller } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';

const KEY = /^[\x21-\x7e]{1,128}$/;

/** An answer as it went out the first time. */
export interface StoredAnswer {
  readonly status: number;
  readonly body: string;
  readonly mediaType: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface IdempotencyRow {
  /** SHA-256 of caller, agent, endpoint and body, hex. */
  readonly requestDigest: string;
  /** Undefined while the call runs, and for ever if the daemon died meanwhile. */
  readonly answer: StoredAnswer | undefined;
}

/** Durable rows by (caller, key). A returned write is on disk. */
export interface IdempotencyStore {
  find(caller: string, key: string, nowMs: number): IdempotencyRow | undefined;
  /** Rows of a caller that have not expired. */
  count(caller: string, nowMs: number): number;
  begin(row: { caller: string; key: string; requestDigest: string; expiresAtMs: number }): void;
  finish(caller: string, key: string, answer: StoredAnswer, expiresAtMs: number): void;
  remove(caller: string, key: string): void;
  removeExpired(nowMs: number): void;
}

export interface IdempotentCall {
  readonly caller: Caller;
  readonly key: string;
  readonly operation: string;
  readonly agent: string;
  readonly body: Uint8Array;
  readonly answerLifeMs: number;
}

export interface IdempotencyOptions {
  readonly store: IdempotencyStore;
  readonly maxRowsPerCaller: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** The value of an Idempotency-Key field. @throws KeydError `malformed_request` */
export function parseIdempotencyKey(value: string): string {
  if (!KEY.test(value)) {
    throw new KeydError('malformed_request', 'idempotency-key must be 1 to 128 printable ASCII characters');
  }
  return value;
}

export class Idempotency {
  readonly #options: IdempotencyOptions;
  /** Calls of this process under way, so that they can be told from those a crash left behind. */
  readonly #running = new Set<string>();

  constructor(options: IdempotencyOptions) {
    this.#options = options;
  }

  /**
   * The stored answer, or what `work` answers, stored. A call that fails leaves nothing: it may be repeated.
   * @throws KeydError `idempotency_mismatch` (the key was used for another request), `conflict` (the first
   * call runs, or was interrupted and its outcome is unknown), `too_many_requests`
   */
  async run(call: IdempotentCall, work: () => Promise<StoredAnswer>): Promise<StoredAnswer> {
    const { store, now, maxRowsPerCaller } = this.#options;
    const caller = callerScope(call.caller);
    const requestDigest = digest(call);
    const running = `${caller}\n${call.key}`;
    const row = store.find(caller, call.key, now());
    if (row !== undefined) return this.#earlier(row, requestDigest, this.#running.has(running));

    store.removeExpired(now());
    if (store.count(caller, now()) >= maxRowsPerCaller) {
      throw new KeydError(
        'too_many_requests',
        `this caller has ${maxRowsPerCaller} idempotency keys in use`,
        {
          retryAfterSeconds: 60,
        },
      );
    }
    store.begin({ caller, key: call.key, requestDigest, expiresAtMs: now() + call.answerLifeMs });
    this.#running.add(running);
    try {
      const answer = await work();
      store.finish(caller, call.key, answer, now() + call.answerLifeMs);
      return answer;
    } catch (thrown) {
      store.remove(caller, call.key);
      throw thrown;
    } finally {
      this.#running.delete(running);
    }
  }

  #earlier(row: IdempotencyRow, requestDigest: string, isRunning: boolean): StoredAnswer {
    if (row.requestDigest !== requestDigest) {
      throw new KeydError('idempotency_mismatch', 'this idempotency-key was used for another request');
    }
    if (row.answer !== undefined) return row.answer;
    throw isRunning
      ? new KeydError('conflict', 'the first call with this idempotency-key is still running', {
          retryAfterSeconds: 1,
        })
      : new KeydError(
          'conflict',
          'the first call with this idempotency-key was interrupted and its outcome is unknown; look, then use another key',
        );
  }
}

/** Another uid, container, unit or socket is another caller, to whom the key means nothing. */
function callerScope(caller: Caller): string {
  const socket = caller.ingress.kind === 'agent' ? `agent:${caller.ingress.agentName}` : caller.ingress.kind;
  return JSON.stringify([socket, caller.uid, callerShare(caller)]);
}

function digest(call: IdempotentCall): string {
  const body = createHash('sha256').update(call.body).digest('hex');
  return createHash('sha256')
    .update(JSON.stringify([call.operation, call.agent, body]))
    .digest('hex');
}
