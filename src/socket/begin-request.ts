/** Before anything of a request is looked at: who sends it, and whether it may take a place. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '../base/logger.ts';
import { endOfTurn } from '../base/end-of-turn.ts';
import type { Caller, Ingress } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';
import type { Admission, RequestTicket } from './admission.ts';
import { connectionState, held, pauseWhileHeld } from './connections.ts';
import type { SocketLimits } from './limits.ts';
import type { SocketMetrics } from './metrics.ts';
import { checkHeaderFields, headOctets } from './request-body.ts';

export interface RequestGate {
  readonly ingress: Ingress;
  readonly limits: SocketLimits;
  readonly admission: Admission;
  readonly metrics: SocketMetrics;
  readonly logger: Logger;
  /** Who may come in on this socket at all. @throws KeydError `policy_denied` */
  readonly admit: (caller: Caller) => void;
  /** True while the daemon shuts down. */
  readonly isDraining: () => boolean;
}

/** A request that has been let in. */
export interface BegunRequest {
  readonly caller: Caller;
  readonly ticket: RequestTicket;
  readonly signal: AbortSignal;
  /** Aborted when the connection closes. */
  readonly connection: AbortSignal;
  /** For metrics and logs; set when the route is known. */
  operation: string;
}

const begun = new WeakMap<IncomingMessage, BegunRequest>();

/** What `beginRequest` found; it has run for every request that a route serves. */
export function begunRequest(request: IncomingMessage): BegunRequest {
  const found = begun.get(request);
  if (found === undefined) throw new KeydError('internal', 'a route was reached past the gate');
  return found;
}

/** The operation of a request, `none` before a route was found. */
export function operationOf(request: IncomingMessage): string {
  return begun.get(request)?.operation ?? 'none';
}

/**
 * Takes a place in the caller's share, given back when the answer is out or the connection gone, and identifies
 * the caller anew once it has it.
 *
 * @throws KeydError `caller_unknown`, `too_many_requests`, `shutting_down`, `malformed_request`, `header_too_large`
 */
export async function beginRequest(
  gate: RequestGate,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const connection = connectionState(request.socket);
  if (connection === undefined) throw new KeydError('caller_unknown', 'this connection was refused');
  connection.requests += 1;
  const { ingress, metrics } = gate;
  const over = metrics.begin(ingress.kind);
  const gone = new AbortController();
  const forgetHead = gate.admission.keepHead(connection.share, headOctets(request));
  const place: { ticket?: RequestTicket; isClosed: boolean } = { isClosed: false };
  response.once('close', () => {
    place.isClosed = true;
    connection.requests -= 1;
    place.ticket?.release();
    forgetHead?.();
    over(operationOf(request), response.statusCode);
    if (!response.writableFinished) {
      gone.abort(new KeydError('caller_gone', 'the caller closed the connection before it was answered'));
    }
  });
  if (forgetHead === undefined) {
    // An answer would wait behind those of the requests before it, and this one with it.
    request.socket.destroy();
    throw new KeydError('caller_gone', 'cut off: more header octets than this caller may have in flight');
  }
  if (gate.isDraining()) {
    response.setHeader('connection', 'close');
    throw new KeydError('shutting_down', 'the daemon is shutting down; connect again soon');
  }
  if (connection.requests > gate.limits.maxPipelined) {
    response.setHeader('connection', 'close');
    request.socket.pause();
    throw new KeydError('too_many_requests', 'too many requests on one connection wait for their answers');
  }
  pauseWhileHeld(request.socket, connection);
  checkHeaderFields(request, gate.limits.maxHeaderFields);
  const taking = gate.admission.begin(connection.share, gone.signal);
  const ticket = taking instanceof Promise ? await held(request.socket, taking) : taking;
  place.ticket = ticket;
  // Closed in the very moment that it got its place: nobody else would give that back.
  if (place.isClosed) ticket.release();
  await endOfTurn();
  gone.signal.throwIfAborted();
  // After the wait: who has the connection now is who is served.
  const caller = await identify(connection.peer.identify(), response);
  gate.admit(caller);
  begun.set(request, {
    caller,
    ticket,
    signal: gone.signal,
    connection: connection.closed,
    operation: 'none',
  });
}

async function identify(identifying: Promise<Caller>, response: ServerResponse): Promise<Caller> {
  try {
    return await identifying;
  } catch (thrown) {
    // Whoever writes here now is not who connected (S10).
    response.setHeader('connection', 'close');
    throw thrown;
  }
}
