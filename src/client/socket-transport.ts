/** HTTP/1.1 with JSON over a Unix socket: the SDK's only way to the daemon. */
import { Agent, request as httpRequest } from 'node:http';
import { KeydError, asKeydError, isErrorCode } from '../wire/problem.ts';

const MAX_ANSWER_OCTETS = 4 * 1024 * 1024;

export interface TransportOptions {
  readonly socketPath: string;
  /** Longest wait for an answer, milliseconds; a slow TPM may queue for seconds. */
  readonly timeoutMs: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Makes a mutating call safe to repeat. */
  readonly idempotencyKey?: string | undefined;
}

/** Keeps connections open, so that the daemon identifies a caller once per connection and not per call. */
export class SocketTransport {
  readonly #options: TransportOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  get socketPath(): string {
    return this.#options.socketPath;
  }

  /**
   * One call; the parsed JSON answer, or `undefined` for 204.
   * @throws KeydError the daemon's problem by its code; `daemon_unreachable` where nobody listens
   */
  async call(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<unknown> {
    const octets = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const { status, text } = await this.#exchange(method, path, octets, options);
    if (status >= 200 && status < 300) return text === '' ? undefined : (JSON.parse(text) as unknown);
    throw problemError(status, text);
  }

  close(): void {
    this.#agent.destroy();
  }

  async #exchange(
    method: string,
    path: string,
    body: Buffer | undefined,
    options: CallOptions,
  ): Promise<{ status: number; text: string }> {
    const timeout = AbortSignal.timeout(this.#options.timeoutMs);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        socketPath: this.#options.socketPath,
        agent: this.#agent,
        method,
        path,
        signal,
        headers: {
          accept: 'application/json, application/problem+json',
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': body.length }),
          ...(options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }),
        },
      });
      request.on('error', (cause) => {
        reject(timeout.aborted || options.signal?.aborted === true ? cause : this.#unreachable(cause));
      });
      request.on('response', (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > MAX_ANSWER_OCTETS)
            response.destroy(new RangeError('the daemon’s answer is too long'));
        });
        response.on('error', reject);
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, text });
        });
      });
      request.end(body);
    });
  }

  #unreachable(cause: Error): KeydError {
    return new KeydError(
      'daemon_unreachable',
      `no daemon answers on ${this.#options.socketPath} (${cause.message}); is agentkeyd running, and are you in its clients group?`,
      { cause },
    );
  }
}

function problemError(status: number, text: string): KeydError {
  let problem: Readonly<Record<string, unknown>> = {};
  try {
    problem = JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch (thrown) {
    return new KeydError('internal', `the daemon answered ${status} without a problem document`, {
      cause: asKeydError(thrown),
    });
  }
  const { code, detail, title, faults, retryAfterSeconds } = problem;
  const message =
    typeof detail === 'string' ? detail : typeof title === 'string' ? title : `status ${status}`;
  return new KeydError(typeof code === 'string' && isErrorCode(code) ? code : 'internal', message, {
    ...(Array.isArray(faults) ? { faults: faults.map(String) } : {}),
    ...(typeof retryAfterSeconds === 'number' ? { retryAfterSeconds } : {}),
  });
}
