/**
 * One TLS 1.3 connection to the issuer. Evidence is bound to the connection that carries it, so a whole
 * exchange runs over one socket; if that is lost, the exchange starts again at the challenge. Another exchange
 * may follow on the same connection (issuer-channels.ts).
 */
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { CHANNEL_EXPORTER_LABEL } from '../wire/attested-data.ts';
import { KeydError, asKeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';

const MAX_ANSWER_OCTETS = 256 * 1024;
const MAX_DEPTH = 16;

export interface IssuerEndpoint {
  /** `https://host:port`, without a path. */
  readonly url: string;
  /** PEM of the CA that the issuer's TLS certificate must chain to; the system's roots where absent. */
  readonly ca: string | undefined;
  /** Longest wait for an answer, milliseconds. */
  readonly timeoutMs: number;
}

export class IssuerChannel {
  readonly #endpoint: IssuerEndpoint;
  readonly #agent: Agent;
  #socket: TLSSocket | undefined;
  #answers = 0;

  constructor(endpoint: IssuerEndpoint) {
    this.#endpoint = endpoint;
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: 1,
      minVersion: 'TLSv1.3',
      ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
    });
  }

  /** Whether there is a connection, as far as this side knows. */
  get isOpen(): boolean {
    return this.#socket?.destroyed === false;
  }

  /** How many requests the issuer has answered, whatever it said. */
  get answers(): number {
    return this.#answers;
  }

  /** The absolute URI of a path at this issuer: what host signatures cover as `@target-uri`. */
  target(path: string): string {
    return this.#endpoint.url + path;
  }

  /**
   * Keying material of this connection (RFC 9266), 32 octets; only after a first exchange.
   * @throws KeydError `issuer_unavailable` where the connection is gone
   */
  exporter(): Uint8Array {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed) throw this.#lost();
    return socket.exportKeyingMaterial(32, CHANNEL_EXPORTER_LABEL, Buffer.alloc(0));
  }

  /**
   * Sends one request over the connection and returns the parsed JSON answer.
   * @throws KeydError `issuer_unavailable` (no answer), `issuer_refused` (a problem document, quoted)
   */
  async exchange(
    method: 'GET' | 'POST',
    path: string,
    headers: Record<string, string>,
    body?: Uint8Array,
  ): Promise<unknown> {
    let answer: { status: number; octets: Buffer };
    try {
      answer = await this.#send(method, path, headers, body);
    } catch (thrown) {
      if (thrown instanceof KeydError) throw thrown;
      const reason = asKeydError(thrown).message;
      throw new KeydError(
        'issuer_unavailable',
        `the issuer at ${this.#endpoint.url} gave no answer (${reason}); it is tried again`,
        { cause: thrown },
      );
    }
    this.#answers += 1;
    return readAnswer(answer.status, answer.octets);
  }

  close(): void {
    this.#agent.destroy();
  }

  async #send(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: Uint8Array | undefined,
  ): Promise<{ status: number; octets: Buffer }> {
    return new Promise((resolve, reject) => {
      const request = httpsRequest(this.target(path), {
        method,
        agent: this.#agent,
        headers: { accept: 'application/json', ...headers, 'content-length': body?.length ?? 0 },
        signal: AbortSignal.timeout(this.#endpoint.timeoutMs),
      });
      request.on('error', reject);
      request.on('socket', (socket) => {
        // The agent opens a new connection where the old one ended; evidence bound to the old one is void then.
        if (!(socket instanceof TLSSocket) || (this.#socket !== undefined && this.#socket !== socket)) {
          request.destroy(this.#lost());
          return;
        }
        this.#socket = socket;
      });
      request.on('response', (response) => {
        collect(response).then((octets) => {
          resolve({ status: response.statusCode ?? 0, octets });
        }, reject);
      });
      request.end(body);
    });
  }

  #lost(): KeydError {
    return new KeydError(
      'issuer_unavailable',
      `the connection to ${this.#endpoint.url} was lost during the exchange; it starts again at the challenge`,
    );
  }
}

async function collect(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > MAX_ANSWER_OCTETS) {
      throw new KeydError('issuer_refused', `the issuer’s answer is longer than ${MAX_ANSWER_OCTETS} octets`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function readAnswer(status: number, octets: Buffer): unknown {
  let parsed: unknown;
  try {
    parsed = parseStrictJson(octets, { maxDepth: MAX_DEPTH, maxOctets: MAX_ANSWER_OCTETS });
  } catch (thrown) {
    throw new KeydError('issuer_unavailable', `the issuer answered ${status} without JSON`, {
      cause: thrown,
    });
  }
  if (status >= 200 && status < 300) return parsed;
  const problem =
    typeof parsed === 'object' && parsed !== null ? (parsed as Readonly<Record<string, unknown>>) : {};
  const word = (member: string): string => {
    const value = problem[member];
    return typeof value === 'string' ? value.slice(0, 500) : '';
  };
  const seconds = problem['retryAfterSeconds'];
  // 429 and 5xx pass by themselves; anything else needs a person.
  const code = status === 429 || status >= 500 ? 'issuer_unavailable' : 'issuer_refused';
  throw new KeydError(
    code,
    `the issuer answered ${status} ${word('code')}: ${word('detail') || word('title')}`,
    {
      ...(typeof seconds === 'number' ? { retryAfterSeconds: seconds } : {}),
    },
  );
}
