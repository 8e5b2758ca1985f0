/** A thread of this process that verifies signatures (S17), so that the main thread has its time for requests. */
import { endAtExit } from '../../base/end-at-exit.ts';
import { KeydError } from '../../wire/problem.ts';
import { verifyAddon, type NativePublicKey, type NativeVerificationThread } from './verify-addon.ts';

/** Far more than the module hosts take at a time. */
const QUEUE_LIMIT = 16_384;

export class VerificationThread {
  #native: NativeVerificationThread | undefined;
  #forgetExit: (() => void) | undefined;
  #closed = false;

  /**
   * Whether `signature` is one of the key over `octets` (NativePublicKey); both are copied before this returns.
   * @throws KeydError `shutting_down`, `key_not_found` if the key was released, `too_many_requests`,
   * `backend_unavailable` if no thread can be had
   */
  async verifies(key: NativePublicKey, octets: Uint8Array, signature: Uint8Array): Promise<boolean> {
    try {
      return await this.#thread().verifies(key, octets, signature);
    } catch (thrown) {
      throw typed(thrown);
    }
  }

  /** Ends the thread. What it was asked and has not answered is refused with `shutting_down`. */
  close(): void {
    this.#closed = true;
    this.#native?.end();
    this.#forgetExit?.();
  }

  // Made on first use: where signatures come one at a time, there is no thread.
  #thread(): NativeVerificationThread {
    if (this.#closed) throw new KeydError('shutting_down', 'The verification thread has ended');
    if (this.#native === undefined) {
      this.#native = new (verifyAddon().VerificationThread)(QUEUE_LIMIT);
      this.#forgetExit = endAtExit(this.#native);
    }
    return this.#native;
  }
}

function typed(thrown: unknown): KeydError {
  if (thrown instanceof KeydError) return thrown;
  const cause = { cause: thrown };
  switch (thrown instanceof Error && 'code' in thrown ? thrown.code : undefined) {
    case 'CLOSED':
      return new KeydError('shutting_down', 'The verification thread has ended', cause);
    case 'RELEASED':
      return new KeydError('key_not_found', 'The key was destroyed before its signature was verified', cause);
    case 'QUEUE_FULL':
      return new KeydError('too_many_requests', 'Too many signatures wait to be verified', cause);
    default:
      return new KeydError('backend_unavailable', 'A signature can not be verified', cause);
  }
}
