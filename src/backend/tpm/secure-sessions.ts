/**
 * HMAC sessions salted to the SRK: an auth value used through one never crosses the bus, and the first
 * parameter of command and response is encrypted (AES-128-CFB) where asked. Long-lived, because
 * salting costs an ECDH in the TPM; renewed after a bounded number of uses, because a session that
 * stays for ever exhausts the session counter gap of a resource manager (0x901).
 */
import { KeydError } from '../../wire/problem.ts';
import { HASHES, TPM_RC } from '../../wire/tpm/constants.ts';
import type { ContextCache } from './context-cache.ts';
import type { EsysConnection, EsysHandle, SessionAttributes, SessionUse } from './esys.ts';
import { HmacSession } from './hmac-session.ts';
import { isTpmCode } from './response-code.ts';
import { MAX_SESSION_USES, SigningSessions, type SigningPlace } from './signing-sessions.ts';
import type { Srk } from './tpm-identity.ts';

/** How many a TPM holds loaded, and Linux's resource manager for one process (PC Client profile; libtpms). */
const MAX_LOADED = 3;

/** `first` is the one that may carry parameter encryption; `second` authorises a second handle. */
export type SessionPlace = 'first' | 'second';

interface OpenSession {
  readonly handle: EsysHandle;
  uses: number;
}

export class SecureSessions {
  readonly #esys: EsysConnection;
  readonly #srk: Srk;
  readonly #objects: ContextCache;
  readonly #open = new Map<SessionPlace, OpenSession>();
  readonly #signing = new SigningSessions();

  constructor(esys: EsysConnection, srk: Srk, objects: ContextCache) {
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
    const session =
      found !== undefined && found.uses < MAX_SESSION_USES ? found : await this.#renew(place, found);
    session.uses += 1;
    return { session: session.handle, attributes: { ...attributes, continueSession: true } };
  }

  /** A session for TPM2_Sign, beside others; undefined where one has to be started first. */
  chooseForSigning(): SigningPlace | undefined {
    return this.#signing.choose();
  }

  /** The same, alone on the TPM; ask before acquiring objects. */
  async openForSigning(): Promise<SigningPlace> {
    await this.#signing.endSpent();
    while (this.#signing.missing > 0) {
      // What needs two sessions is rarer than signing, and starts its second anew.
      if (this.#loaded >= MAX_LOADED) await this.#endEsys('second');
      await this.#objects.makeRoom(1);
      try {
        this.#signing.add(await HmacSession.start(this.#esys, this.#srk));
      } catch (thrown) {
        // Others hold the rest: one session is enough to sign, and nobody is flushed for a second.
        if (this.#signing.size === 0 || !isSessionMemory(thrown)) throw thrown;
        this.#signing.settle();
      }
    }
    const place = this.#signing.choose();
    if (place === undefined) throw new KeydError('internal', 'No session is free, though nothing else runs');
    return place;
  }

  /** A policy session, salted likewise; it ends with the command that uses it. */
  startPolicy(): Promise<EsysHandle> {
    return this.#start('policy');
  }

  /** Ends all sessions; one that can not be ended is gone already. */
  async end(): Promise<void> {
    const sessions = [...this.#open.values()];
    this.#open.clear();
    await this.#signing.end();
    await Promise.allSettled(sessions.map(({ handle }) => this.#esys.flushContext(handle)));
  }

  /** Keeps nothing of sessions whose connection has ended. */
  forget(): void {
    this.#open.clear();
    this.#signing.forget();
  }

  get #loaded(): number {
    return this.#open.size + this.#signing.size;
  }

  async #endEsys(place: SessionPlace): Promise<void> {
    const session = this.#open.get(place);
    this.#open.delete(place);
    if (session !== undefined) await this.#esys.flushContext(session.handle);
  }

  async #renew(place: SessionPlace, old: OpenSession | undefined): Promise<OpenSession> {
    if (old !== undefined) await this.#endEsys(place);
    const session: OpenSession = { handle: await this.#start('hmac'), uses: 0 };
    this.#open.set(place, session);
    return session;
  }

  async #start(type: 'hmac' | 'policy'): Promise<EsysHandle> {
    // Signing can do with fewer, and starts its own anew.
    if (this.#loaded >= MAX_LOADED) await this.#signing.end(MAX_LOADED - 1 - this.#open.size);
    // Decrypting the salt takes the persistent SRK into a transient slot for the while.
    await this.#objects.makeRoom(1);
    return this.#esys.startAuthSession({
      type,
      tpmKey: this.#srk.handle,
      symmetric: 'aes-128-cfb',
      authHash: HASHES.sha256.id,
    });
  }
}

function isSessionMemory(thrown: unknown): boolean {
  return isTpmCode(thrown, TPM_RC.SESSION_MEMORY) || isTpmCode(thrown, TPM_RC.SESSION_HANDLES);
}
