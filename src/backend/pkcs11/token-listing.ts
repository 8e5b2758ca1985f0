/**
 * All our keys on the token, page by page: a token may hold ten thousand objects, and signing goes on between
 * pages. A listing is taken at offset 0; object handles are then read in two runs, public and private.
 */
import type { HardwareKey } from '../backend.ts';
import { KeydError } from '../../wire/problem.ts';
import { CKO } from './constants.ts';
import { CryptokiError, type Handle } from './cryptoki.ts';
import { keyIdToOctets } from './key-label.ts';
import { classTemplate } from './mechanisms.ts';
import { LIST_PAGE_KEYS, type ListPage } from './module-host-messages.ts';
import { recoveryOf } from './return-value.ts';
import type { TokenConnection } from './token-connection.ts';
import type { TokenKeys } from './token-keys.ts';

interface Entry {
  readonly handle: Handle;
  readonly isPublic: boolean;
}

export class TokenListing {
  readonly #connection: TokenConnection;
  readonly #keys: TokenKeys;
  #entries: readonly Entry[] = [];
  #generation = -1;

  constructor(connection: TokenConnection, keys: TokenKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** @throws KeydError `token_unavailable` if the token was reconnected since offset 0; CryptokiError */
  page(offset: number): ListPage {
    if (offset === 0) this.#take();
    if (this.#generation !== this.#connection.generation) {
      throw new KeydError('token_unavailable', 'The token was reconnected during a listing: list again');
    }
    const keys: HardwareKey[] = [];
    const held: string[] = [];
    let unreadable = 0;
    for (const { handle, isPublic } of this.#entries.slice(offset, offset + LIST_PAGE_KEYS)) {
      try {
        this.#connection.use((session) => {
          const label = this.#keys.label(session, handle);
          if (label === undefined) return;
          if (isPublic) {
            keys.push(this.#keys.readPublicKey(session, handle, label));
          } else {
            held.push(label.keyId);
            this.#keys.remember(keyIdToOctets(label.keyId), handle);
          }
        });
      } catch (thrown) {
        if (thrown instanceof KeydError && thrown.code === 'malformed_structure') unreadable++;
        // Destroyed since the listing was taken.
        else if (!(thrown instanceof CryptokiError) || recoveryOf(thrown.rv) !== 'look-again') throw thrown;
      }
    }
    const next = offset + LIST_PAGE_KEYS;
    return { keys, held, unreadable, ...(next < this.#entries.length ? { next } : {}) };
  }

  #take(): void {
    const { cryptoki } = this.#connection;
    this.#entries = this.#connection.use((session) => {
      const entries = [CKO.publicKey, CKO.privateKey].flatMap((objectClass) =>
        cryptoki
          .findObjects(session, classTemplate(objectClass))
          .map((handle) => ({ handle, isPublic: objectClass === CKO.publicKey })),
      );
      this.#connection.assertPresent(session);
      return entries;
    });
    this.#generation = this.#connection.generation;
  }
}
