/** Nonces of host signatures: each is good once (S4). */
import type { CommitGroup } from '../../base/commit-group.ts';
import { KeydError } from '../../wire/problem.ts';

export class NonceStore {
  readonly #state: CommitGroup;
  /** The second of the last sweep: what is kept until a later one is not to be looked for again in the same. */
  #sweptAtSeconds: number | undefined;

  constructor(state: CommitGroup) {
    this.#state = state;
  }

  /**
   * Uses a nonce of a verified signature; it is kept until no signature carrying it can be fresh any more.
   * @throws KeydError `replayed`
   */
  use(hostKeyThumbprint: string, nonce: string, expiresAtSeconds: number, nowSeconds: number): Promise<void> {
    return this.#state.write(() => {
      if (this.#sweptAtSeconds !== nowSeconds) {
        this.#state.statement('DELETE FROM host_nonces WHERE expires_at <= ?').run(nowSeconds);
        this.#sweptAtSeconds = nowSeconds;
      }
      const { changes } = this.#state
        .statement(
          `INSERT INTO host_nonces (host_key_thumbprint, nonce, expires_at) VALUES (?, ?, ?)
             ON CONFLICT DO NOTHING`,
        )
        .run(hostKeyThumbprint, nonce, expiresAtSeconds);
      if (changes !== 1) throw new KeydError('replayed', 'the nonce of this host signature was used before');
    });
  }
}
