/** What a failed request leads to: a log line, a count, a problem document, and a pause for who spins. */
import { setTimeout as delay } from 'node:timers/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestGate } from './request-gate.ts';
import { begunRequest, operationOf } from './begun-request.ts';
import { connectionState, held } from './connections.ts';
import { sendProblem, toKeydError } from './problem-response.ts';
import type { KeydError } from '../wire/problem.ts';

export async function answerFailure(
  gate: RequestGate,
  request: IncomingMessage,
  response: ServerResponse,
  thrown: unknown,
): Promise<void> {
  const error = toKeydError(thrown);
  gate.metrics.refused(gate.ingress.kind, error.code);
  log(gate, request, error);
  if (error.status === 403 || error.status === 429) await slowDown(gate, request);
  if (error.code === 'caller_gone') response.destroy();
  else sendProblem(response, error);
}

/** A caller that is refused again and again is answered later (S20): its connection waits, nothing of ours does. */
async function slowDown({ admission }: RequestGate, request: IncomingMessage): Promise<void> {
  const share = connectionState(request.socket)?.share;
  const waitMs = share === undefined ? 0 : admission.refusalDelay(share);
  if (waitMs > 0) await held(request.socket, delay(waitMs));
}

function log(gate: RequestGate, request: IncomingMessage, error: KeydError): void {
  const operation = operationOf(request);
  const fields = { operation, socket: gate.ingress.kind, error, ...callerFields(request) };
  if (error.status >= 500 && error.code !== 'shutting_down') gate.logger.warn(fields, 'request failed');
  else if (gate.ingress.kind === 'admin') gate.logger.info(fields, 'admin call refused');
  else gate.logger.debug(fields, 'request refused');
}

function callerFields(request: IncomingMessage): Readonly<Record<string, unknown>> {
  return operationOf(request) === 'none' ? {} : { caller: begunRequest(request).caller };
}
