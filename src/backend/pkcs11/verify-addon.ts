/** The addon that verifies signatures (S17): the only import of `verify.node`. */
import { addonLoader } from '../../base/load-addon.ts';

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

/** @throws KeydError `backend_unavailable` */
export const verifyAddon = addonLoader('verify', 'backend_unavailable') as () => NativeModule;
