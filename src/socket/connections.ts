/** What is known of each open connection: who opened it and what it holds. */
import type { Socket } from 'node:net';
import type { PeerConnection } from '../caller/identify.ts';

export interface ConnectionState {
  readonly peer: PeerConnection;
  readonly share: string;
  /** Aborted when it closes. */
  readonly closed: AbortSignal;
  /** Requests begun and not answered. */
  requests: number;
  /** Those of them that wait for their quota, or for their refusal. */
  held: number;
}

const states = new WeakMap<Socket, ConnectionState>();

export function rememberConnection(socket: Socket, state: ConnectionState): void {
  states.set(socket, state);
}

/** Undefined for a connection that was refused. */
export function connectionState(socket: Socket): ConnectionState | undefined {
  return states.get(socket);
}

/** A socket that is not read can not be seen to close: each is looked at again after this. */
const READ_AGAIN_MS = 500;

/**
 * Waits with a request of this connection. While it does, nothing more is read from there once another request
 * has come: what the caller goes on to write stays in its own socket. (Not before, so that its end is noticed.)
 */
export async function held<T>(socket: Socket, waiting: Promise<T>): Promise<T> {
  const state = connectionState(socket);
  if (state === undefined) return waiting;
  state.held += 1;
  pauseWhileHeld(socket, state);
  try {
    return await waiting;
  } finally {
    state.held -= 1;
    if (state.held === 0) socket.resume();
  }
}

/** To be called for each request that comes in. */
export function pauseWhileHeld(socket: Socket, state: ConnectionState): void {
  if (state.held === 0 || state.requests < 2) return;
  // node:http resumes the socket when a request is whole; only after that does a pause last.
  setImmediate(() => {
    if (state.held === 0 || socket.isPaused()) return;
    socket.pause();
    setTimeout(() => socket.resume(), READ_AGAIN_MS);
  });
}
