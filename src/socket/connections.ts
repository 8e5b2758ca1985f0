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
}

const states = new WeakMap<Socket, ConnectionState>();

export function rememberConnection(socket: Socket, state: ConnectionState): void {
  states.set(socket, state);
}

/** Undefined for a connection that was refused. */
export function connectionState(socket: Socket): ConnectionState | undefined {
  return states.get(socket);
}
