/** One TLS 1.3 connection to an issuer, as a host holds it: requests in turn over one socket, and its exporter. */
import { Agent, request } from 'node:https';
import { connect, TLSSocket } from 'node:tls';
import { CHANNEL_EXPORTER_LABEL } from '../../src/wire/attested-data.ts';

export interface IssuerAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly text: string;
  /** Parsed body. */
  readonly json: unknown;
  /** `code` of a problem document. */
  readonly code: string | undefined;
}

const TIMEOUT_MS = 20_000;

export class IssuerConnection {
  readonly #port: number;
  readonly #ca: string;
  readonly #agent: Agent;
  #socket: TLSSocket | undefined;

  constructor(port: number, ca: string) {
    this.#port = port;
    this.#ca = ca;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, ca, servername: 'localhost' });
  }

  get(path: string): Promise<IssuerAnswer> {
    return this.send('GET', path, {}, undefined);
  }

  post(path: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<IssuerAnswer> {
    return this.send('POST', path, { 'content-type': 'application/json', ...headers }, body);
  }

  send(
    method: string,
    path: string,
    headers: Record<string, string | string[]>,
    body: string | Uint8Array | undefined,
  ): Promise<IssuerAnswer> {
    return new Promise((resolve, reject) => {
      const sent = request(
        { host: '127.0.0.1', port: this.#port, path, method, headers, agent: this.#agent },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => {
            resolve(toAnswer(response.statusCode ?? 0, response.headers, Buffer.concat(chunks)));
          });
          response.on('error', reject);
        },
      );
      sent.setTimeout(TIMEOUT_MS, () => sent.destroy(new Error('the issuer gave no answer')));
      sent.on('error', reject);
      sent.on('socket', (socket) => {
        if (socket instanceof TLSSocket) this.#socket = socket;
      });
      sent.end(body);
    });
  }

  /** Of the connection that the last request went over, 32 octets. */
  exporter(): Uint8Array {
    if (this.#socket === undefined || this.#socket.destroyed) throw new Error('there is no connection');
    return this.#socket.exportKeyingMaterial(32, CHANNEL_EXPORTER_LABEL, Buffer.alloc(0));
  }

  /** Writes octets as they are over a new TLS connection and gives everything that comes back. */
  raw(octets: string | Uint8Array, options: { readonly waitMs?: number } = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: this.#port, ca: this.#ca, servername: 'localhost' });
      const chunks: Buffer[] = [];
      const timer = setTimeout(() => socket.destroy(), options.waitMs ?? TIMEOUT_MS);
      socket.on('secureConnect', () => socket.write(octets));
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      // A server that refuses may reset what is still being sent: what it answered counts.
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (chunks.length === 0 && error.code !== 'ECONNRESET') reject(error);
      });
      socket.on('close', () => {
        clearTimeout(timer);
        resolve(Buffer.concat(chunks).toString('utf8'));
      });
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

function toAnswer(status: number, headers: NodeJS.Dict<string | string[]>, octets: Buffer): IssuerAnswer {
  const text = octets.toString('utf8');
  const type = headers['content-type'];
  const json: unknown = typeof type === 'string' && type.includes('json') ? JSON.parse(text) : undefined;
  const code =
    typeof json === 'object' && json !== null && 'code' in json && typeof json.code === 'string'
      ? json.code
      : undefined;
  return { status, headers, text, json, code };
}
