/**
 * Stands before every C_Login (S17): a PIN that a token refused is remembered durably, as a keyed hash, and not
 * tried again, whichever process or restart asks; a token on its final try is left alone.
 */
import { createHmac } from 'node:crypto';
import { encodeBase64url } from '../../wire/base64url.ts';
import { KeydError } from '../../wire/problem.ts';
import { CKF } from './constants.ts';

/** Where refused PINs are remembered. A resolved `add` is durable. */
export interface PinFailureStore {
  has(hash: string): Promise<boolean>;
  add(hash: string): Promise<void>;
}

/** The token that a PIN is for, as it names itself. */
export interface PinTarget {
  readonly manufacturer: string;
  readonly serial: string;
  readonly label: string;
  /** CK_TOKEN_INFO.flags. */
  readonly flags: number;
}

export const MIN_PIN_HASH_KEY_OCTETS = 32;

export class PinGuard {
  readonly #store: PinFailureStore;
  readonly #key: Uint8Array;
  readonly #unknownOutcomes = new Set<string>();
  /** Serialises logins over all processes of one backend. */
  #turn: Promise<unknown> = Promise.resolve();

  /** @param key at least 32 secret octets, the same over restarts: PINs are short, a plain hash would give them away */
  constructor(store: PinFailureStore, key: Uint8Array) {
    if (key.length < MIN_PIN_HASH_KEY_OCTETS) {
      throw new KeydError(
        'configuration_invalid',
        `The PIN hash key needs ${MIN_PIN_HASH_KEY_OCTETS} octets`,
      );
    }
    this.#store = store;
    this.#key = Uint8Array.from(key);
  }

  /** HMAC-SHA-256 over token and PIN, base64url. The same PIN on another token is another attempt. */
  hash(target: PinTarget, pin: Uint8Array): string {
    const hmac = createHmac('sha256', this.#key).update('agentkeyd/pkcs11-pin/v1');
    for (const part of [target.manufacturer, target.serial, target.label, pin]) {
      const octets = typeof part === 'string' ? Buffer.from(part) : part;
      const length = Buffer.alloc(4);
      length.writeUInt32BE(octets.length);
      hmac.update(length).update(octets);
    }
    return encodeBase64url(hmac.digest());
  }

  /** Whether this PIN may be tried now. @throws KeydError `token_pin_locked`, `token_login_failed` */
  async permit(target: PinTarget, hash: string): Promise<void> {
    if ((target.flags & CKF.userPinLocked) !== 0) {
      throw new KeydError(
        'token_pin_locked',
        'The token’s user PIN is locked: the security officer must reset it',
      );
    }
    if ((target.flags & CKF.userPinFinalTry) !== 0) {
      throw new KeydError(
        'token_pin_locked',
        'One more wrong PIN would lock the token: log in once by hand with the right PIN, then start again',
      );
    }
    if (this.#unknownOutcomes.has(hash) && (target.flags & CKF.userPinCountLow) !== 0) {
      // The module host died in C_Login and the token has counted a failure since: it was this PIN.
      await this.refused(hash);
    }
    if (await this.#store.has(hash)) {
      throw new KeydError(
        'token_login_failed',
        'The token refused this PIN before and it is not tried again: configure the right PIN' +
          ' (if the token’s PIN was since set to this one, clear the store of refused PINs)',
      );
    }
  }

  /** Remembers that the token refused the PIN. */
  async refused(hash: string): Promise<void> {
    await this.#store.add(hash);
    this.#unknownOutcomes.delete(hash);
  }

  /** Remembers, until the next attempt, that nobody knows what the token said to the PIN. */
  outcomeUnknown(hash: string): void {
    this.#unknownOutcomes.add(hash);
  }

  /** The token took the PIN. */
  accepted(hash: string): void {
    this.#unknownOutcomes.delete(hash);
  }

  /** Runs one login at a time, so that a sibling sees what became of the one before it. */
  oneAtATime<T>(login: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(login);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
