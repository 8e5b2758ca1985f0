/** HTTP/1.1 with JSON over a Unix socket: the SDK's only way to the daemon. */
import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { KeydError, asKeydError, isErrorCode } from '../wire/problem.ts';

const MAX_ANSWER_OCTETS = 4 * 1024 * 1024;

export interface TransportOptions {
  readonly socketPath: string;
  /** Longest wait for an answer, milliseconds; a slow TPM may queue for seconds. */
  readonly timeoutMs: number;
  /** Open at one time; default 64. */
  readonly maxConnections?: number;
}

export interface CallOptions {
  /** Ends the call, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Makes a mutating call safe to repeat. */
  readonly idempotencyKey?: string | undefined;
}

/** A successful answer. */
export interface Answer {
  readonly status: number;
  /** Undefined where there was no content. */
  readonly json: unknown;
  /** Lower-case names. */
  readonly headers: IncomingMessage['headers'];
}

interface Received {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** Keeps connections open, so that the daemon identifies a caller once per connection and not per call. */
export class SocketTransport {
  readonly #options: TransportOptions;
  readonly #agent: Agent;
  readonly #apart = new Set<SocketTransport>();

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.maxConnections ?? 64 });
  }

  get socketPath(): string {
    return this.#options.socketPath;
  }

  /**
   * One call; the parsed JSON answer, or `undefined` for 204.
   * @throws KeydError the daemon's problem by its code; `daemon_unreachable` where nobody listens;
   *   `deadline_exceeded` where no answer came in time
   */
  async call(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<unknown> {
    return (await this.exchange(method, path, body, options)).json;
  }

  /** As `call`, with the header fields of the answer. */
  async exchange(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<Answer> {
    const octets = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const { status, headers, text } = await this.#send(method, path, octets, options);
    if (status >= 200 && status < 300) return { status, json: parseAnswer(status, text), headers };
    throw problemError(status, text);
  }

  /** One connection apart from all others, to the same daemon; it closes with this transport at the latest. */
  apart(): SocketTransport {
    const transport = new SocketTransport({ ...this.#options, maxConnections: 1 });
    this.#apart.add(transport);
    return transport;
  }

  close(): void {
    for (const transport of this.#apart) transport.close();
    this.#apart.clear();
    this.#agent.destroy();
  }

  async #send(
    method: string,
    path: string,
    body: Buffer | undefined,
    options: CallOptions,
  ): Promise<Received> {
    const timeout = AbortSignal.timeout(this.#options.timeoutMs);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
    const request = httpRequest({
      socketPath: this.#options.socketPath,
      agent: this.#agent,
      method,
      path,
      signal,
      headers: {
        accept: 'application/json, application/problem+json',
        ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': body.length }),
        ...(options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }),
      },
    });
    try {
      return await received(request, body);
    } catch (thrown) {
      if (options.signal?.aborted === true) throw options.signal.reason;
      if (timeout.aborted) throw this.#tooLate(thrown);
      throw thrown instanceof KeydError ? thrown : this.#unreachable(asKeydError(thrown));
    }
  }

  #tooLate(cause: unknown): KeydError {
    const { socketPath, timeoutMs } = this.#options;
    const message = `the daemon on ${socketPath} did not answer within ${timeoutMs} ms`;
    return new KeydError('deadline_exceeded', message, { cause });
  }

  #unreachable(cause: Error): KeydError {
    return new KeydError(
      'daemon_unreachable',
      `no daemon answers on ${this.#options.socketPath} (${cause.message}); is agentkeyd running, and are you in its clients group?`,
      { cause },
    );
  }
}

function received(request: ClientRequest, body: Buffer | undefined): Promise<Received> {
  return new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let octets = 0;
      response.on('data', (chunk: Buffer) => {
        octets += chunk.length;
        chunks.push(chunk);
        if (octets > MAX_ANSWER_OCTETS)
          response.destroy(new KeydError('internal', 'the daemon’s answer is too long'));
      });
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode = 0, headers } = response;
        resolve({ status: statusCode, headers, text: Buffer.concat(chunks).toString('utf8') });
      });
    });
    request.end(body);
  });
}

function parseAnswer(status: number, text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new KeydError('internal', `the daemon answered ${status} without JSON`, { cause });
  }
}

function problemError(status: number, text: string): KeydError {
  let problem: unknown;
  try {
    problem = JSON.parse(text) as unknown;
  } catch (cause) {
    return new KeydError('internal', `the daemon answered ${status} without a problem document`, { cause });
  }
  const { code, detail, title, faults, retryAfterSeconds } = (problem ?? {}) as Readonly<
    Record<string, unknown>
  >;
  const message =
    typeof detail === 'string' ? detail : typeof title === 'string' ? title : `status ${status}`;
  return new KeydError(typeof code === 'string' && isErrorCode(code) ? code : 'internal', message, {
    ...(Array.isArray(faults) ? { faults: faults.map(String) } : {}),
    ...(typeof retryAfterSeconds === 'number' ? { retryAfterSeconds } : {}),
  });
}
