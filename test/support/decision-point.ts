/** A decision point that answers as a test says, well or badly, and keeps what it was asked. */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';

export interface Asked {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  /** The parsed question. */
  readonly json: Evaluation;
}

/** As a decision point reads it. */
export interface Evaluation {
  readonly subject: { readonly type: string; readonly id: string; readonly properties: Members };
  readonly action: { readonly name: string; readonly properties: Members };
  readonly resource: { readonly type: string; readonly id: string; readonly properties: Members };
  readonly context: Members;
}
type Members = Readonly<Record<string, unknown>>;

export type Answer = (response: ServerResponse, asked: Asked) => void;

export interface TestDecisionPoint {
  /** Of the endpoint; meaningless over a Unix socket. */
  readonly url: string;
  readonly asked: readonly Asked[];
  /** Connections that were made, TLS handshakes that failed included. */
  readonly connections: number;
  answer: Answer;
  /** Ends every open connection, as a restart does. */
  drop(): void;
  stop(): Promise<void>;
}

export interface DecisionPointPlace {
  readonly tls?: TlsOptions;
  readonly socketPath?: string;
  /** Where to listen and what the URL says; by default the loopback address, and its name. */
  readonly address?: string;
}

export const PERMIT: Answer = (response) => {
  json(response, '{"decision": true}');
};
export const DENY: Answer = (response) => {
  json(response, '{"decision": false, "context": {"reason": "no"}}');
};

export function json(response: ServerResponse, text: string, type = 'application/json'): void {
  response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(text) }).end(text);
}

export async function startDecisionPoint(place: DecisionPointPlace = {}): Promise<TestDecisionPoint> {
  const asked: Asked[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString('utf8');
      const { method, url, headers } = request;
      const one: Asked = { method, url, headers, text, json: JSON.parse(text) as Evaluation };
      asked.push(one);
      point.answer(response, one);
    });
  };
  const { tls } = place;
  const server = tls === undefined ? createHttpServer(handle) : createHttpsServer(tls, handle);
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => {
    if (place.socketPath === undefined) server.listen(0, place.address ?? '127.0.0.1', resolve);
    else server.listen(place.socketPath, resolve);
  });
  const { port } = (server.address() as AddressInfo | null) ?? {};
  const point = {
    url: `${tls === undefined ? 'http' : 'https'}://${place.address ?? 'localhost'}:${port ?? 0}/access/v1/evaluation`,
    asked,
    get connections() {
      return connections;
    },
    answer: PERMIT,
    drop() {
      for (const socket of sockets) socket.destroy();
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return point;
}
