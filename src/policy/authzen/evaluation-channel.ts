/** Connections to the decision point: one POST, one bounded answer, and no way round. */
import { randomUUID } from 'node:crypto';
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { KeydError } from '../../wire/problem.ts';
import { MAX_ANSWER_OCTETS } from './evaluation-answer.ts';

export interface EvaluationEndpoint {
  /** http or https, with the path. */
  readonly url: string;
  /** A Unix socket to connect to, whatever host the URL names. */
  readonly socketPath: string | undefined;
  /** PEM of the CA that its certificate must chain to; the public roots where absent. */
  readonly ca: string | undefined;
  /** Sent as `Authorization: Bearer`. */
  readonly token: string | undefined;
}

/** Questions at the same time, one connection each. */
export const MAX_CONNECTIONS = 32;
const MAX_HEADER_OCTETS = 8192;
const JSON_TYPE = /^application\/json(?:[ \t]*;[ \t]*charset=(?:utf-8|"utf-8"))?$/i;

export class EvaluationChannel {
  readonly #endpoint: EvaluationEndpoint;
  readonly #agent: HttpAgent;
  readonly #request: typeof httpRequest;

  constructor(endpoint: EvaluationEndpoint) {
    this.#endpoint = endpoint;
    const kept = { keepAlive: true, maxSockets: MAX_CONNECTIONS, maxFreeSockets: MAX_CONNECTIONS };
    const isTls = endpoint.url.startsWith('https:');
    this.#request = isTls ? httpsRequest : httpRequest;
    this.#agent = isTls
      ? new HttpsAgent({
          ...kept,
          minVersion: 'TLSv1.2',
          // Said, so that NODE_TLS_REJECT_UNAUTHORIZED can not unsay it.
          rejectUnauthorized: true,
          ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
        })
      : new HttpAgent(kept);
  }

  /**
   * The octets of a 200 answer of type application/json.
   * @throws KeydError `decision_point_unavailable` (no whole answer, 429, 5xx), `decision_point_invalid`
   */
  async post(body: string, signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      try {
        return await this.#postOnce(body, signal);
      } catch (thrown) {
        // A kept connection may have been closed from the other side meanwhile: that is no answer, and asking
        // again changes nothing there. Each turn uses one such connection up.
        if (!(thrown instanceof StaleConnection) || signal.aborted) throw thrown;
      }
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #postOnce(body: string, signal: AbortSignal): Promise<Uint8Array> {
    const requestId = randomUUID();
    const response = await this.#send(body, requestId, signal);
    try {
      checkHead(response, requestId);
      return await collect(response);
    } catch (thrown) {
      // What is not read to its end would keep the connection from the next question.
      response.destroy();
      throw thrown;
    }
  }

  async #send(body: string, requestId: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { url, socketPath, token } = this.#endpoint;
    return new Promise((resolve, reject) => {
      const request: ClientRequest = this.#request(url, {
        method: 'POST',
        agent: this.#agent,
        signal,
        maxHeaderSize: MAX_HEADER_OCTETS,
        headers: {
          accept: 'application/json',
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'x-request-id': requestId,
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        ...(socketPath === undefined ? {} : { socketPath }),
      });
      const fail = (cause?: Error): void => {
        const isStale = request.reusedSocket && cause !== undefined && isReset(cause);
        reject(isStale ? new StaleConnection(cause) : noAnswer('the connection failed', cause));
      };
      request.on('error', fail);
      // Where neither an answer nor an error came, as after a 101.
      request.on('close', () => {
        fail();
      });
      request.on('response', resolve);
      request.end(body);
    });
  }
}

/** @throws KeydError */
function checkHead({ statusCode = 0, headers }: IncomingMessage, requestId: string): void {
  if (statusCode === 429 || statusCode >= 500) throw noAnswer(`it answered ${statusCode}`);
  if (statusCode !== 200) {
    const followed = statusCode >= 300 && statusCode < 400 ? '; redirects are not followed' : '';
    throw invalid(`has the status ${statusCode}${followed}`);
  }
  if (!JSON_TYPE.test(headers['content-type'] ?? '')) throw invalid('is not application/json');
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') throw invalid('is compressed');
  // Not every decision point repeats it; one that does can not mistake one question for another.
  if ((headers['x-request-id'] ?? requestId) !== requestId) throw invalid('is for another request');
  if (Number(headers['content-length'] ?? 0) > MAX_ANSWER_OCTETS) throw tooLong();
}

async function collect(response: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let total = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      total += chunk.length;
      if (total > MAX_ANSWER_OCTETS) throw tooLong();
      chunks.push(chunk);
    }
  } catch (thrown) {
    if (thrown instanceof KeydError) throw thrown;
    throw noAnswer('the answer ended early', thrown);
  }
  if (!response.complete) throw noAnswer('the answer ended early');
  return Buffer.concat(chunks);
}

const RESETS = new Set(['ECONNRESET', 'EPIPE']);

function isReset(error: NodeJS.ErrnoException): boolean {
  return RESETS.has(error.code ?? '');
}

/** A connection that had carried answers before, and was gone when this question came. */
class StaleConnection extends KeydError {
  constructor(cause: Error) {
    super('decision_point_unavailable', 'the connection to the external decision point was closed', {
      cause,
    });
  }
}

function noAnswer(why: string, cause?: unknown): KeydError {
  return new KeydError('decision_point_unavailable', `the external decision point gave no answer: ${why}`, {
    cause,
  });
}

function tooLong(): KeydError {
  return invalid(`is longer than ${MAX_ANSWER_OCTETS} octets`);
}

function invalid(what: string): KeydError {
  return new KeydError('decision_point_invalid', `the answer of the external decision point ${what}`);
}
