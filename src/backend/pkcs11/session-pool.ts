/** Sessions of one token, leased: a session carries one operation at a time, and one that failed is not used again. */
import type { Cryptoki, Handle } from './cryptoki.ts';

export class SessionPool {
  readonly #cryptoki: Cryptoki;
  readonly #slot: Handle;
  readonly #idle: Handle[] = [];
  readonly #leased = new Set<Handle>();

  constructor(cryptoki: Cryptoki, slot: Handle) {
    this.#cryptoki = cryptoki;
    this.#slot = slot;
  }

  /** Sessions in use and idle. */
  get size(): number {
    return this.#idle.length + this.#leased.size;
  }

  /**
   * Runs `work` with a session that nobody else has. After a failure the session is closed: an operation may
   * still be active on it, and the next C_SignInit would answer CKR_OPERATION_ACTIVE.
   */
  use<T>(work: (session: Handle) => T): T {
    const session = this.#idle.pop() ?? this.#cryptoki.openSession(this.#slot);
    this.#leased.add(session);
    try {
      const result = work(session);
      this.#leased.delete(session);
      this.#idle.push(session);
      return result;
    } catch (thrown) {
      this.#leased.delete(session);
      this.#discard(session);
      throw thrown;
    }
  }

  // Closing a token's last session logs out, so a fresh one is opened first.
  #discard(session: Handle): void {
    try {
      if (this.size === 0) this.#idle.push(this.#cryptoki.openSession(this.#slot));
      this.#cryptoki.closeSession(session);
    } catch {
      // The token or the session is gone, which the failure that is being reported says already.
    }
  }
}
