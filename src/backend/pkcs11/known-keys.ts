import type { HardwareKey } from '../backend.ts';
import { jwkThumbprint } from '../../wire/jwk.ts';
import { KeydError } from '../../wire/problem.ts';
import { keyIdToOctets } from './key-label.ts';
import { algorithmToOctet } from './module-host-messages.ts';
import { VerifyingKey } from './verify-signature.ts';

/** A key that was seen on the token, with its public key held fast. */
export interface KnownKey {
  readonly key: HardwareKey;
  /** Key id ‖ algorithm: the head of every sign request. */
  readonly signPrefix: Buffer;
  readonly verifying: VerifyingKey;
}

class SeenKey implements KnownKey {
  readonly key: HardwareKey;
  readonly signPrefix: Buffer;
  #verifying: VerifyingKey | undefined;

  constructor(key: HardwareKey) {
    this.key = key;
    this.signPrefix = Buffer.concat([keyIdToOctets(key.keyId), Buffer.of(algorithmToOctet(key.algorithm))]);
  }

  // Made on first use: a listing of thousands needs none.
  get verifying(): VerifyingKey {
    this.#verifying ??= new VerifyingKey(this.key.publicJwk);
    return this.#verifying;
  }

  dispose(): void {
    this.#verifying?.dispose();
  }
}

/** Public keys by key id, pinned at first sight: a token can not swap a key under a running daemon. */
export class KnownKeys {
  readonly #keys = new Map<string, SeenKey>();

  get(keyId: string): KnownKey | undefined {
    return this.#keys.get(keyId);
  }

  /** Whether nothing else is known under this id. */
  agrees(key: HardwareKey): boolean {
    const known = this.#keys.get(key.keyId)?.key;
    return (
      known === undefined ||
      (known.algorithm === key.algorithm &&
        known.purpose === key.purpose &&
        jwkThumbprint(known.publicJwk) === jwkThumbprint(key.publicJwk))
    );
  }

  /** Remembers the key. @throws KeydError `key_not_found` if another key is known under this id */
  pin(key: HardwareKey): KnownKey {
    if (!this.agrees(key)) {
      throw new KeydError('key_not_found', `The token now shows another key under the id ${key.keyId}`);
    }
    const known = this.#keys.get(key.keyId) ?? new SeenKey(key);
    this.#keys.set(key.keyId, known);
    return known;
  }

  /** Forgets the key and frees what was kept for it. */
  forget(keyId: string): void {
    this.#keys.get(keyId)?.dispose();
    this.#keys.delete(keyId);
  }

  forgetAll(): void {
    for (const keyId of [...this.#keys.keys()]) this.forget(keyId);
  }
}
