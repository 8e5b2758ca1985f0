/** The addon that verifies signatures (S17): the only import of `verify.node`. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { KeydError } from '../../wire/problem.ts';

/** A public key as OpenSSL keeps it. */
export interface NativePublicKey {
  /**
   * Whether `signature` (JOSE form) is one over `octets`, on the calling thread: the digest that the algorithm
   * hashes to, or for Ed25519 the message. False for anything that is none, and for a key that was released.
   */
  readonly verifies: (octets: Uint8Array, signature: Uint8Array) => boolean;
  /** Frees the key now, not when it is collected. */
  readonly release: () => void;
}

/** One thread and its queue. Keeps the event loop alive while a question is open. */
export interface NativeVerificationThread {
  /** As `NativePublicKey.verifies`, on the thread; octets are copied. Rejects with `code` CLOSED, RELEASED, QUEUE_FULL. */
  readonly verifies: (key: NativePublicKey, octets: Uint8Array, signature: Uint8Array) => Promise<boolean>;
  /** Ends the thread; open questions reject with CLOSED. */
  readonly end: () => void;
}

interface NativeModule {
  /** @throws TypeError if `spki` (DER) is no public key of the JOSE algorithm */
  readonly PublicKey: new (algorithm: string, spki: Uint8Array) => NativePublicKey;
  /** @throws Error if the system gives no thread */
  readonly VerificationThread: new (queueLimit: number) => NativeVerificationThread;
}

let nativeModule: NativeModule | undefined;

/** Loads the addon at its first use. @throws KeydError `backend_unavailable` */
export function verifyAddon(): NativeModule {
  if (nativeModule === undefined) {
    const file = new URL('../../../native/build/Release/verify.node', import.meta.url);
    try {
      nativeModule = createRequire(import.meta.url)(fileURLToPath(file)) as NativeModule;
    } catch (cause) {
      const message = 'verify.node can not be loaded; run scripts/build-native.sh';
      throw new KeydError('backend_unavailable', message, { cause });
    }
  }
  return nativeModule;
}
