/** Auth values that the TPM has refused: they are not tried again, not by the next process either (S20). */
import { createHash } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import type { AuthDeriver } from './key-auth.ts';
import type { TpmKey } from './tpm-key.ts';

/** Where hashes of refused auth values are kept; a resolved `add` is durable. */
export interface RefusedAuthStore {
  has(hash: string): Promise<boolean>;
  add(hash: string): Promise<void>;
}

export class RefusedAuths {
  readonly #store: RefusedAuthStore;
  readonly #auths: AuthDeriver;
  /** Keys whose auth the TPM has taken since the start: nothing to look up on the way to a signature. */
  readonly #accepted = new Set<string>();

  constructor(store: RefusedAuthStore, auths: AuthDeriver) {
    this.#store = store;
    this.#auths = auths;
  }

  /** @throws KeydError `tpm_auth_failed` for a key whose present auth value was refused before */
  async check(key: TpmKey): Promise<void> {
    const { keyId } = key.record;
    if (this.#accepted.has(keyId) || !(await this.#store.has(this.#hash(key)))) return;
    throw new KeydError(
      'tpm_auth_failed',
      'The TPM has refused the auth value of this key and is not asked again; was the daemon’s secret changed?',
    );
  }

  accepted(keyId: string): void {
    this.#accepted.add(keyId);
  }

  async refused(key: TpmKey): Promise<void> {
    this.#accepted.delete(key.record.keyId);
    await this.#store.add(this.#hash(key));
  }

  forget(keyId: string): void {
    this.#accepted.delete(keyId);
  }

  /** Another secret makes another value, so that a secret put right is tried again. The value has 192 random bits. */
  #hash({ record }: TpmKey): string {
    const auth = this.#auths.keyAuth(record);
    try {
      return createHash('sha256').update('agentkeyd/refused-auth/v1\0').update(auth).digest('hex');
    } finally {
      auth.fill(0);
    }
  }
}
