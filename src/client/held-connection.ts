/** A connection that stays open: what the daemon bound to it lives as long. */
import { asKeydError } from '../wire/problem.ts';
import type { SocketTransport } from './socket-transport.ts';

/** The daemon closes a connection that says nothing for a minute. */
const ASK_INTERVAL_MS = 20_000;

export class HeldConnection {
  readonly transport: SocketTransport;
  #timer: NodeJS.Timeout | undefined;

  /** @param transport of one connection, which this closes */
  constructor(transport: SocketTransport) {
    this.transport = transport;
  }

  /** Asks for an agent again and again until it has ended; that keeps no process alive. */
  hold(agentPath: string): void {
    this.#timer = setInterval(() => {
      this.transport.call('GET', agentPath).catch((thrown: unknown) => {
        // Whatever else went wrong is told to whoever uses the agent, and asked again here.
        if (asKeydError(thrown).code === 'agent_not_found') this.close();
      });
    }, ASK_INTERVAL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.transport.close();
  }
}
