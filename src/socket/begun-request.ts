/** A request from its header to the end of its answer: what it holds, and gives back then. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';
import type { HeadPlace, RequestTicket } from './admission.ts';
import type { RequestGate } from './request-gate.ts';
import type { ConnectionState } from './connections.ts';
import { headOctets } from './request-body.ts';

/** Where a request carries it: a WeakMap of every request costs its garbage collector more than all of this. */
const BEGUN = Symbol('begun');
type Carrier = IncomingMessage & { [BEGUN]?: BegunRequest };

export class BegunRequest {
  /** For metrics and logs; set when the route is known. */
  operation = 'none';
  /** Whether the share may have this much in headers. */
  readonly hasHead: boolean;
  readonly #gate: RequestGate;
  readonly #connection: ConnectionState;
  readonly #response: ServerResponse;
  readonly #beganMs: number;
  readonly #head: HeadPlace | undefined;
  #ticket: RequestTicket | undefined;
  #caller: Caller | undefined;
  #isOver = false;
  /** Made for who asks for the signal. */
  #leaving: AbortController | undefined;

  constructor(
    gate: RequestGate,
    connection: ConnectionState,
    request: IncomingMessage,
    response: ServerResponse,
  ) {
    this.#gate = gate;
    this.#connection = connection;
    this.#response = response;
    this.#beganMs = gate.metrics.begin(gate.ingress.kind);
    connection.requests += 1;
    this.#head = gate.admission.keepHead(connection.share, headOctets(request));
    this.hasHead = this.#head !== undefined;
    (request as Carrier)[BEGUN] = this;
    response.on('close', () => {
      this.#end();
    });
  }

  /** Who calls. @throws KeydError `internal` before that is known */
  get caller(): Caller {
    if (this.#caller === undefined) throw new KeydError('internal', 'a route was reached past the gate');
    return this.#caller;
  }

  /** @throws KeydError `internal` before it has its place */
  get ticket(): RequestTicket {
    if (this.#ticket === undefined) throw new KeydError('internal', 'a body was read past the gate');
    return this.#ticket;
  }

  /** Aborted when the caller has gone before it was answered. */
  get signal(): AbortSignal {
    if (this.#leaving === undefined) {
      this.#leaving = new AbortController();
      if (this.#isGone) this.#leaving.abort(gone());
    }
    return this.#leaving.signal;
  }

  /** Aborted when the connection closes. */
  get connection(): AbortSignal {
    return this.#connection.closed;
  }

  /** Has this place from now on. */
  hold(ticket: RequestTicket): void {
    this.#ticket = ticket;
    // Closed in the very moment that it got its place: nobody else would give that back.
    if (this.#isOver) ticket.release();
  }

  /** @throws KeydError `caller_gone` */
  throwIfGone(): void {
    if (this.#isGone) throw gone();
  }

  identified(caller: Caller): void {
    this.#caller = caller;
  }

  get #isGone(): boolean {
    return this.#isOver && !this.#response.writableFinished;
  }

  #end(): void {
    this.#isOver = true;
    this.#connection.requests -= 1;
    this.#ticket?.release();
    this.#head?.release();
    const { metrics, ingress } = this.#gate;
    metrics.over(ingress.kind, this.operation, this.#response.statusCode, this.#beganMs);
    if (this.#isGone) this.#leaving?.abort(gone());
  }
}

/** What `beginRequest` made of it. @throws KeydError `internal` where it was not asked */
export function begunRequest(request: IncomingMessage): BegunRequest {
  const found = (request as Carrier)[BEGUN];
  if (found === undefined) throw new KeydError('internal', 'a route was reached past the gate');
  return found;
}

/** The operation of a request, `none` before a route was found. */
export function operationOf(request: IncomingMessage): string {
  return (request as Carrier)[BEGUN]?.operation ?? 'none';
}

function gone(): KeydError {
  return new KeydError('caller_gone', 'the caller closed the connection before it was answered');
}
