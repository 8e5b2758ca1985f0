/** The only place where an error becomes an HTTP answer (RFC 9457). */
import { STATUS_CODES, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { KeydError, type ProblemDocument } from '../wire/problem.ts';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

const DEFAULT_RETRY_AFTER_SECONDS = 1;
/** Faults shown; a request with more has been read well enough. */
const MAX_FAULTS = 32;

/** Answers `error` unless an answer has begun; then the connection is cut, so that nobody takes it for whole. */
export function sendProblem(response: ServerResponse, error: KeydError): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { status, body, headers } = render(error);
  response.writeHead(status, headers);
  response.end(body);
}

/** Connections that are read on after their last answer, all sockets together; more are closed at once. */
const MAX_LINGERING = 64;
const LINGER_MS = 1_000;
const lingering = new Set<Duplex>();

/**
 * Answers on a connection whose request never became one (HTTP that can not be parsed, too large a header,
 * too slow, too many connections), then closes it. What the caller still writes is read for a moment, since
 * one that fails in writing does not come to read its answer.
 */
export function sendRawProblem(socket: Duplex, error: KeydError): void {
  if (lingering.has(socket)) return;
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const { status, body, headers } = render(error);
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}`,
    ...Object.entries({ ...headers, connection: 'close' }).map(([name, value]) => `${name}: ${value}`),
  ];
  const answer = `${lines.join('\r\n')}\r\n\r\n${body}`;
  if (lingering.size >= MAX_LINGERING) {
    socket.end(answer, () => socket.destroy());
    return;
  }
  lingering.add(socket);
  const over = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('end', () => socket.destroy());
  socket.once('close', () => {
    clearTimeout(over);
    lingering.delete(socket);
  });
  socket.on('error', () => socket.destroy());
  socket.end(answer);
  socket.resume();
}

/** Any thrown value as what may be told: router and parser errors of ours to blame on the request included. */
export function toKeydError(thrown: unknown): KeydError {
  if (thrown instanceof KeydError) return thrown;
  if (thrown instanceof URIError) {
    return new KeydError('malformed_request', 'the path is not valid percent-encoding', { cause: thrown });
  }
  return new KeydError('internal', thrown instanceof Error ? thrown.message : String(thrown), {
    cause: thrown,
  });
}

function render(error: KeydError): {
  status: number;
  body: string;
  headers: Record<string, string | number>;
} {
  const problem = withRetryAfter(error.toProblem());
  const body = JSON.stringify(problem);
  return {
    status: problem.status,
    body,
    headers: {
      'content-type': PROBLEM_MEDIA_TYPE,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      ...(problem.retryAfterSeconds === undefined ? {} : { 'retry-after': problem.retryAfterSeconds }),
    },
  };
}

function withRetryAfter(problem: ProblemDocument): ProblemDocument {
  const faults = problem.faults === undefined ? {} : { faults: problem.faults.slice(0, MAX_FAULTS) };
  const retryable = problem.status === 429 || problem.status === 503;
  if (problem.retryAfterSeconds !== undefined || !retryable) return { ...problem, ...faults };
  return { ...problem, ...faults, retryAfterSeconds: DEFAULT_RETRY_AFTER_SECONDS };
}
