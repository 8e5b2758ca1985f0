/** The HTTPS listener: TLS 1.3 only, bounded in connections, headers and time. */
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import type { Express } from 'express';
import { expressBorn } from '../base/express-born.ts';
import type { Logger } from '../base/logger.ts';
import { KeydError } from '../wire/problem.ts';
import type { IssuerConfig } from './config.ts';
import { networkOf } from './http/network.ts';
import { rawProblem } from './http/problem-response.ts';

export interface TlsMaterial {
  /** Certificate chain, PEM, leaf first. */
  readonly cert: string;
  /** Private key, PEM: in software, and so documented (DECISIONS 12). */
  readonly key: string;
}

const TIMEOUTS = {
  handshakeTimeout: 10_000,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  // Longer than a challenge lives: an exchange stays on its connection.
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 2_000,
} as const;
const MAX_HEADER_OCTETS = 16 * 1024;
const STOP_GRACE_MS = 10_000;

export interface IssuerServer {
  /** Port that is listened on. */
  readonly port: number;
  /** New connections get this certificate. @throws KeydError `configuration_invalid`, and the old one stays */
  setTls(material: TlsMaterial): void;
  /** Finishes running requests, at most 10 s. */
  stop(): Promise<void>;
}

/** @throws KeydError `configuration_invalid` where certificate and key do not fit or the address can not be had */
export async function startServer(
  app: Express,
  tls: TlsMaterial,
  config: Pick<IssuerConfig, 'listen' | 'limits'>,
  logger: Logger,
): Promise<IssuerServer> {
  const server = createTlsServer(app, tls);
  server.maxConnections = config.limits.connections;
  limitNetworks(server, config.limits.connectionsPerNetwork);
  answerMalformed(server);
  server.on('tlsClientError', (error, socket) => {
    logger.debug({ error, from: socket.remoteAddress }, 'a TLS handshake failed');
  });
  await listen(server, config.listen);
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : config.listen.port,
    setTls: (material) => {
      try {
        server.setSecureContext({ ...material, minVersion: 'TLSv1.3' });
      } catch (cause) {
        throw unusableTls(cause);
      }
    },
    stop: () => stop(server),
  };
}

function createTlsServer(app: Express, tls: TlsMaterial): Server {
  try {
    const options = {
      ...tls,
      ...TIMEOUTS,
      ...expressBorn(app),
      minVersion: 'TLSv1.3',
      maxHeaderSize: MAX_HEADER_OCTETS,
    } as const;
    // Express answers by itself, and so does its error handler: the listener has nothing to wait for.
    return createServer(options, (request, response) => {
      app(request, response);
    });
  } catch (cause) {
    throw unusableTls(cause);
  }
}

function unusableTls(cause: unknown): KeydError {
  return new KeydError('configuration_invalid', 'the TLS certificate and key can not be used together', {
    cause,
  });
}

/** One network can not take every connection (S20). */
function limitNetworks(server: Server, perNetwork: number): void {
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const network = networkOf(socket.remoteAddress);
    const count = (open.get(network) ?? 0) + 1;
    if (count > perNetwork) {
      socket.destroy();
      return;
    }
    open.set(network, count);
    socket.once('close', () => {
      const left = (open.get(network) ?? 1) - 1;
      if (left === 0) open.delete(network);
      else open.set(network, left);
    });
  });
}

/** What is no HTTP request never reaches the application; it is answered here. */
function answerMalformed(server: Server): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!socket.writable || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    const problem =
      error.code === 'HPE_HEADER_OVERFLOW'
        ? new KeydError('header_too_large', `the header is larger than ${MAX_HEADER_OCTETS} octets`)
        : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
          ? new KeydError('request_timeout', 'the request took too long to arrive')
          : new KeydError('malformed_request', 'this is no HTTP/1.1 request');
    socket.end(rawProblem(problem));
  });
}

function listen(server: Server, { address, port }: IssuerConfig['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new KeydError(
          'configuration_invalid',
          `can not listen on ${address} port ${port}: ${cause.message}`,
          {
            cause,
          },
        ),
      );
    });
    server.listen(port, address, resolve);
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.closeAllConnections();
    }, STOP_GRACE_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
