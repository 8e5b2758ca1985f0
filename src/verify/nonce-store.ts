import { asKeydError, KeydError } from '../wire/problem.ts';

/**
 * Where used nonces are remembered (S4). All replicas of a resource server must share one: over one file with
 * `SqliteNonceStore`, or over Redis (`SET key 1 NX EXAT`) or PostgreSQL (`INSERT ... ON CONFLICT DO NOTHING`)
 * behind this same interface.
 */
export interface NonceStore {
  /**
   * Takes (thumbprint, nonce) for good, atomically: true exactly once until `expiresAtSeconds` (Unix time), false
   * for every later claim. A store that can not tell must reject the promise; the request is then refused.
   */
  claim(thumbprint: string, nonce: string, expiresAtSeconds: number): Promise<boolean>;
}

/**
 * Claims a nonce or refuses; whatever a store does but answer true is a refusal.
 * @throws KeydError `replayed`, or `replay_check_unavailable` where the store failed
 */
export async function spendNonce(
  store: NonceStore,
  thumbprint: string,
  nonce: string,
  expiresAtSeconds: number,
): Promise<void> {
  let fresh: unknown;
  try {
    fresh = await store.claim(thumbprint, nonce, expiresAtSeconds);
  } catch (thrown) {
    const error = asKeydError(thrown);
    throw error.code === 'replay_check_unavailable'
      ? error
      : new KeydError('replay_check_unavailable', 'the nonce store failed', { cause: thrown });
  }
  if (fresh !== true) throw new KeydError('replayed', 'this was used before: its nonce is spent');
}

export interface MemoryNonceStoreOptions {
  /** Claims kept at most; beyond that requests are refused until older ones expire. */
  readonly maxEntries: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

/** Nonces in this process's memory: for a single process, because replicas and restarts do not see them. */
export class MemoryNonceStore implements NonceStore {
  readonly #maxEntries: number;
  readonly #clock: () => number;
  readonly #expiryByKey = new Map<string, number>();
  #purgedAtSeconds = 0;

  constructor({ maxEntries, clock = Date.now }: MemoryNonceStoreOptions) {
    this.#maxEntries = maxEntries;
    this.#clock = clock;
  }

  /** @throws KeydError `replay_check_unavailable` while the store is full: nothing unexpired is ever forgotten */
  claim(thumbprint: string, nonce: string, expiresAtSeconds: number): Promise<boolean> {
    // Thumbprints are base64url, so the space can not be part of one.
    const key = `${thumbprint} ${nonce}`;
    const now = Math.floor(this.#clock() / 1000);
    this.#purge(now);
    const expiry = this.#expiryByKey.get(key);
    if (expiry !== undefined && expiry >= now) return Promise.resolve(false);
    if (this.#expiryByKey.size >= this.#maxEntries) {
      return Promise.reject(new KeydError('replay_check_unavailable', 'the nonce store is full'));
    }
    this.#expiryByKey.set(key, expiresAtSeconds);
    return Promise.resolve(true);
  }

  #purge(nowSeconds: number): void {
    if (nowSeconds === this.#purgedAtSeconds) return;
    this.#purgedAtSeconds = nowSeconds;
    for (const [key, expiry] of this.#expiryByKey) {
      if (expiry < nowSeconds) this.#expiryByKey.delete(key);
    }
  }
}
