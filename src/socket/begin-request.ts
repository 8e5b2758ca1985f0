/** Before anything of a request is looked at: who sends it, and whether it may take a place. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { endOfTurn } from '../base/end-of-turn.ts';
import type { Caller } from '../caller/caller.ts';
import { KeydError } from '../wire/problem.ts';
import { BegunRequest } from './begun-request.ts';
import { connectionState, held, pauseWhileHeld, type ConnectionState } from './connections.ts';
import { checkHeaderFields } from './request-body.ts';
import type { RequestGate } from './request-gate.ts';

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
  const begun = new BegunRequest(gate, connection, request, response);
  if (!begun.hasHead) {
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
  const taking = gate.admission.begin(connection.share, begun);
  begun.hold(taking instanceof Promise ? await held(request.socket, taking) : taking);
  await endOfTurn();
  begun.throwIfGone();
  // After the wait: who has the connection now is who is served.
  const identifying = identify(connection, response);
  const caller = identifying instanceof Promise ? await identifying : identifying;
  gate.admit(caller);
  begun.identified(caller);
}

function identify({ peer }: ConnectionState, response: ServerResponse): Caller | Promise<Caller> {
  try {
    return peer.identify();
  } catch (thrown) {
    // Whoever writes here now is not who connected (S10).
    response.setHeader('connection', 'close');
    throw thrown;
  }
}
