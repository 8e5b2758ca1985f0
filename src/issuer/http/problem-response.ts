/** The sole place where an error becomes an answer (RFC 9457). */
import type { IncomingMessage } from 'node:http';
import type { Response } from 'express';
import type { Logger } from '../../base/logger.ts';
import { asKeydError, type KeydError } from '../../wire/problem.ts';

/** Codes whose detail is about the issuer itself: it is for its log, not for whoever asks. */
const FIRST_OWN_FAULT = 500;

/** Answers with the problem document of `thrown`. */
export function sendProblem(response: Response, thrown: unknown, logger: Logger): void {
  const error = asKeydError(thrown);
  if (error.status >= FIRST_OWN_FAULT) {
    logger.error({ error }, 'a request failed for a reason of our own');
  }
  // Unread octets of a refused body would be taken for the next request.
  if (hasUnreadBody(response.req)) response.setHeader('connection', 'close');
  if (error.retryAfterSeconds !== undefined) response.setHeader('retry-after', error.retryAfterSeconds);
  const { detail, ...bare } = error.toProblem();
  const shown = error.status < FIRST_OWN_FAULT && detail !== undefined ? { ...bare, detail } : bare;
  const octets = Buffer.from(JSON.stringify(shown));
  response.statusCode = error.status;
  response.setHeader('cache-control', 'no-store');
  response.setHeader('content-type', 'application/problem+json');
  response.setHeader('content-length', octets.length);
  response.end(octets);
}

function hasUnreadBody(request: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  return !request.complete && (coding !== undefined || (length !== undefined && length !== '0'));
}

/** A problem as a whole HTTP/1.1 answer, for faults that are found before there is a request. */
export function rawProblem(error: KeydError): string {
  const body = JSON.stringify(error.toProblem());
  const reason =
    error.status === 431
      ? 'Request Header Fields Too Large'
      : error.status === 408
        ? 'Request Timeout'
        : 'Bad Request';
  return [
    `HTTP/1.1 ${error.status} ${reason}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'cache-control: no-store',
    'connection: close',
    '',
    body,
  ].join('\r\n');
}
