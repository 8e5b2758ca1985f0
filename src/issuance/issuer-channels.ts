/** The connections of successive exchanges with the issuer: one that is idle for a moment serves the next exchange. */
import { asKeydError } from '../wire/problem.ts';
import { IssuerChannel, type IssuerEndpoint } from './issuer-channel.ts';

/** Long enough for the agents of one renewal round, and far below what the issuer grants an idle connection. */
const IDLE_MS = 5_000;
/** The issuer's certificate is looked at again so often. */
const MAX_AGE_MS = 60_000;

interface KeptChannel {
  readonly channel: IssuerChannel;
  readonly openedAtMs: number;
}

/**
 * Lends a connection to one exchange at a time. What evidence is bound to is the connection that carries it and a
 * challenge of its own, so that a connection may carry several exchanges, one after the other
 * (docs/decisions/0044-connections-of-a-burst-are-kept.md).
 */
export class IssuerChannels {
  readonly #endpoint: IssuerEndpoint;
  #kept: KeptChannel | undefined;
  #idle: NodeJS.Timeout | undefined;

  constructor(endpoint: IssuerEndpoint) {
    this.#endpoint = endpoint;
  }

  /**
   * Runs one exchange; the connection of one that failed is closed. An issuer may end an idle connection at the very
   * moment it is used again: where it answered nothing on it, the exchange begins again, at the challenge, on a new one.
   */
  async use<T>(exchange: (channel: IssuerChannel) => Promise<T>): Promise<T> {
    const kept = this.#take();
    if (kept !== undefined) {
      const { answers } = kept.channel;
      try {
        return await this.#run(kept, exchange);
      } catch (thrown) {
        const isLost = asKeydError(thrown).code === 'issuer_unavailable' && kept.channel.answers === answers;
        if (!isLost) throw thrown;
      }
    }
    const channel = new IssuerChannel(this.#endpoint);
    return this.#run({ channel, openedAtMs: performance.now() }, exchange);
  }

  /** Closes the connection that is idle. */
  close(): void {
    this.#take()?.channel.close();
  }

  async #run<T>(lent: KeptChannel, exchange: (channel: IssuerChannel) => Promise<T>): Promise<T> {
    let isDone = false;
    try {
      const result = await exchange(lent.channel);
      isDone = true;
      return result;
    } finally {
      if (isDone) this.#keep(lent);
      else lent.channel.close();
    }
  }

  #keep(lent: KeptChannel): void {
    const isOld = performance.now() - lent.openedAtMs >= MAX_AGE_MS;
    if (isOld || this.#kept !== undefined || !lent.channel.isOpen) {
      lent.channel.close();
      return;
    }
    this.#kept = lent;
    this.#idle = setTimeout(() => {
      this.close();
    }, IDLE_MS).unref();
  }

  #take(): KeptChannel | undefined {
    clearTimeout(this.#idle);
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept === undefined || kept.channel.isOpen) return kept;
    kept.channel.close();
    return undefined;
  }
}
