/**
 * HMAC sessions salted to the SRK: an auth value used through one never crosses the bus, and the first
 * parameter of command and response is encrypted (AES-128-CFB) where asked. Long-lived, because
 * salting costs an ECDH in the TPM; renewed after a bounded number of uses, because a session that
 * stays for ever exhausts the session counter gap of a resource manager (0x901).
 */
import { HASHES } from '../../wire/tpm/constants.ts';
import type { ContextCache } from './context-cache.ts';
import type { EsysConnection, EsysHandle, SessionAttributes, SessionUse } from './esys.ts';

const MAX_USES = 5_000;

/** `first` is the one that may carry parameter encryption; `second` authorises a second handle. */
export type SessionPlace = 'first' | 'second';

interface OpenSession {
  readonly handle: EsysHandle;
  uses: number;
}

export class SecureSessions {
  readonly #esys: EsysConnection;
  readonly #srk: EsysHandle;
  readonly #objects: ContextCache;
  readonly #open = new Map<SessionPlace, OpenSession>();

  constructor(esys: EsysConnection, srk: EsysHandle, objects: ContextCache) {
    this.#esys = esys;
    this.#srk = srk;
    this.#objects = objects;
  }

  /**
   * The session for one command; ask before acquiring objects, for starting one may need their slot.
   * `attributes` say what is encrypted; it lives on afterwards.
   */
  async use(place: SessionPlace, attributes: SessionAttributes = {}): Promise<SessionUse> {
    const found = this.#open.get(place);
    const session = found !== undefined && found.uses < MAX_USES ? found : await this.#renew(place, found);
    session.uses += 1;
    return { session: session.handle, attributes: { ...attributes, continueSession: true } };
  }

  /** A policy session, salted likewise; it ends with the command that uses it. */
  startPolicy(): Promise<EsysHandle> {
    return this.#start('policy');
  }

  /** Ends all sessions; one that can not be ended is gone already. */
  async end(): Promise<void> {
    const sessions = [...this.#open.values()];
    this.#open.clear();
    await Promise.allSettled(sessions.map(({ handle }) => this.#esys.flushContext(handle)));
  }

  async #renew(place: SessionPlace, old: OpenSession | undefined): Promise<OpenSession> {
    if (old !== undefined) {
      this.#open.delete(place);
      await this.#esys.flushContext(old.handle);
    }
    const session: OpenSession = { handle: await this.#start('hmac'), uses: 0 };
    this.#open.set(place, session);
    return session;
  }

  async #start(type: 'hmac' | 'policy'): Promise<EsysHandle> {
    // Decrypting the salt takes the persistent SRK into a transient slot for the while.
    await this.#objects.makeRoom(1);
    return this.#esys.startAuthSession({
      type,
      tpmKey: this.#srk,
      symmetric: 'aes-128-cfb',
      authHash: HASHES.sha256.id,
    });
  }
}
