/**
 * Auth values derived from the daemon's secret (S15, DECISIONS 13): whoever has a key's blob still
 * needs the secret, and erasing blob and salt erases the auth with them.
 */
import { hkdfSync } from 'node:crypto';
import type { KeyPurpose } from '../backend.ts';
import { KeydError } from '../../wire/problem.ts';

/** Shorter secrets are refused: the auth is no stronger than what it is derived from. */
export const MIN_SECRET_OCTETS = 32;

const AUTH_OCTETS = 24;
const UNIQUE_OCTETS = 32;

/** What enters a key's auth besides the secret. */
export interface KeyAuthContext {
  readonly keyId: string;
  readonly purpose: KeyPurpose;
  readonly epoch: number;
  /** 32 random octets per key. */
  readonly salt: Uint8Array;
}

/** Derives auth values; holds its own copy of the secret until `close`. */
export class AuthDeriver {
  readonly #secret: Uint8Array;

  /** @throws KeydError `configuration_invalid` for a secret of less than 32 octets */
  constructor(secret: Uint8Array) {
    if (secret.length < MIN_SECRET_OCTETS) {
      throw new KeydError(
        'configuration_invalid',
        `The daemon secret has ${secret.length} octets; at least ${MIN_SECRET_OCTETS} are needed`,
      );
    }
    this.#secret = new Uint8Array(secret);
  }

  /**
   * A key's auth: 32 characters of base64url over 24 octets of HKDF-SHA-256, so that tpm2-openssl takes it as a
   * passphrase. The caller wipes it.
   */
  keyAuth({ keyId, purpose, epoch, salt }: KeyAuthContext): Uint8Array {
    // No member holds a NUL, so no two contexts spell the same info.
    return this.#text(salt, `${purpose}\0${keyId}\0${epoch}`);
  }

  /** The AK's auth: not empty, so that another process with the TPM open can not quote as us. */
  attestationKeyAuth(): Uint8Array {
    return this.#text(new Uint8Array(), 'attestation-key auth');
  }

  /** What makes the AK this host's: the same secret gives the same AK, without a blob to keep. */
  attestationKeyUnique(): Uint8Array {
    return this.#derive(new Uint8Array(), 'attestation-key unique', UNIQUE_OCTETS);
  }

  /** Of the NV counter: only who has the secret increments it. */
  counterAuth(): Uint8Array {
    return this.#text(new Uint8Array(), 'audit-counter auth');
  }

  close(): void {
    this.#secret.fill(0);
  }

  #text(salt: Uint8Array, info: string): Uint8Array {
    const octets = this.#derive(salt, info, AUTH_OCTETS);
    const text = Buffer.from(Buffer.from(octets.buffer).toString('base64url'), 'latin1');
    octets.fill(0);
    return text;
  }

  #derive(salt: Uint8Array, info: string, length: number): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.#secret, salt, info, length));
  }
}
