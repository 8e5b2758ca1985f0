/** One listening socket: connections are identified and counted before a request is read from them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { CallerIdentifier, PeerConnection } from '../caller/identify.ts';
import { socketFd } from '../caller/peer-credentials.ts';
import { KeydError } from '../wire/problem.ts';
import { createSocketApp, type SocketAppOptions } from './app.ts';
import { connectionState, rememberConnection } from './connections.ts';
import { createExpressServer } from './express-server.ts';
import { listenAt, type ListenAddress } from './listener.ts';
import { sendRawProblem, toKeydError } from './problem-response.ts';

export interface SocketServerOptions extends SocketAppOptions {
  readonly identifier: CallerIdentifier;
}

/** How often node:http looks for connections whose time is up. */
const TIMEOUT_CHECK_INTERVAL_MS = 500;

export class SocketServer {
  readonly #options: SocketServerOptions;
  readonly #server: Server;

  constructor(options: SocketServerOptions) {
    this.#options = options;
    const { limits } = options;
    this.#server = createExpressServer(createSocketApp(options), {
      maxHeaderSize: limits.maxHeaderOctets,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
      insecureHTTPParser: false,
      requireHostHeader: true,
    });
    // One more than allowed is kept, so that too many are noticed instead of dropped unseen.
    this.#server.maxHeadersCount = limits.maxHeaderFields + 1;
    this.#server.maxConnections = limits.maxConnections;
    // In place of node:http's own listener, so that nothing is read from a connection that is refused.
    const [serve] = this.#server.listeners('connection');
    this.#server.removeAllListeners('connection');
    this.#server.on('connection', (socket: Socket) => {
      if (this.#accept(socket)) serve?.call(this.#server, socket);
    });
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
      this.#refuse(socket, clientFault(error, limits.maxHeaderOctets));
    });
    this.#server.on('connect', (_request, socket: Duplex) => {
      this.#refuse(socket, new KeydError('method_not_allowed', 'CONNECT has no meaning here'));
    });
  }

  async listen(address: ListenAddress): Promise<void> {
    await listenAt(this.#server, address);
    // Accepting may fail (no descriptors left); the next one may be accepted again.
    this.#server.on('error', (error) => {
      this.#options.logger.error(
        { socket: this.#options.ingress.kind, error },
        'a connection could not be accepted',
      );
    });
  }

  /** Stops accepting, closes idle connections, and resolves when every request has been answered. */
  async drain(): Promise<void> {
    if (!this.#server.listening) return;
    // Who has connected and waits in the backlog is let in and told, instead of reset by the kernel.
    await nextTurn();
    await nextTurn();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  /** Cuts what is still open. */
  closeAllConnections(): void {
    this.#server.closeAllConnections();
  }

  /** Whether the peer is known and has a place. */
  #accept(socket: Socket): boolean {
    const { admission, identifier, ingress, logger, metrics } = this.#options;
    const disconnected = metrics.connected(ingress.kind);
    socket.once('close', disconnected);
    let peer: PeerConnection | undefined;
    try {
      peer = identifier.connect(socketFd(socket), ingress);
      const giveBack = admission.connect(peer.share);
      const { share } = peer;
      const closing = new AbortController();
      rememberConnection(socket, { peer, share, closed: closing.signal, requests: 0, held: 0 });
      socket.once('close', () => {
        closing.abort();
        giveBack();
        connectionState(socket)?.peer.close();
      });
      return true;
    } catch (thrown) {
      peer?.close();
      const error = toKeydError(thrown);
      logger.debug({ socket: ingress.kind, error }, 'connection refused');
      this.#refuse(socket, error);
      return false;
    }
  }

  #refuse(socket: Duplex, error: KeydError): void {
    this.#options.metrics.refused(this.#options.ingress.kind, error.code);
    sendRawProblem(socket, error);
  }
}

function clientFault(error: NodeJS.ErrnoException, maxHeaderOctets: number): KeydError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new KeydError('header_too_large', `the header is larger than ${maxHeaderOctets} octets`);
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new KeydError('body_too_large', 'the chunk extensions are too large');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new KeydError('request_timeout', 'the request did not arrive in time');
    case 'ECONNRESET':
    case 'EPIPE':
      return new KeydError('caller_gone', 'the connection broke');
    default:
      return new KeydError('malformed_request', `this is not HTTP/1.1: ${error.message}`);
  }
}
