/**
 * The HMAC sessions that TPM2_Sign is authorised with. One is enough while signatures follow one another; where they
 * overlap there is a second, so that the TPM has its next command while the answer to the last is checked.
 */
import type { HmacSession, SignCommand } from './hmac-session.ts';

/** Renewed after that many uses, as all sessions are: see `SecureSessions`. */
export const MAX_SESSION_USES = 5_000;
const MAX_PLACES = 2;

type SigningSession = Pick<HmacSession, 'sign' | 'end' | 'forget'>;

/** One session, with those that wait for it. */
export class SigningPlace {
  readonly #session: SigningSession;
  readonly #leave: (place: SigningPlace) => void;
  #uses = 0;
  #isOpen = true;
  #last: Promise<unknown> = Promise.resolve();
  #load = 0;

  constructor(session: SigningSession, leave: (place: SigningPlace) => void) {
    this.#session = session;
    this.#leave = leave;
  }

  get isSpent(): boolean {
    return this.#uses >= MAX_SESSION_USES;
  }

  /** Those under way and those that wait. */
  get load(): number {
    return this.#load;
  }

  /** Runs `work` after those before it; undefined, and not run, where the session has ended meanwhile. */
  async inTurn<T>(work: () => Promise<T>): Promise<T | undefined> {
    this.#load += 1;
    const turn = this.#last.then(() => (this.#isOpen && !this.isSpent ? work() : undefined));
    // Whether it went well is told to the one who asked; the next has only to wait for it.
    this.#last = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.#load -= 1;
    }
  }

  /**
   * TPM2_Sign, in turn or alone: one at a time. The command is sent before this returns. A session is used again only
   * after an answer that was the TPM's; after any other it is ended.
   */
  async sign(command: SignCommand): Promise<Buffer> {
    this.#uses += 1;
    try {
      return await this.#session.sign(command);
    } catch (thrown) {
      await this.end();
      throw thrown;
    }
  }

  /** Signs nothing more; there is no connection any more that it could be ended on. */
  forget(): void {
    this.#isOpen = false;
    this.#session.forget();
  }

  /** One that can not be ended is gone already. */
  async end(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#leave(this);
    await Promise.allSettled([this.#session.end()]);
  }
}

export class SigningSessions {
  readonly #places = new Set<SigningPlace>();
  /** How many would be of use, and how many the TPM has room for. */
  #wanted = 1;
  #most = MAX_PLACES;

  get size(): number {
    return this.#places.size;
  }

  /** How many sessions are missing. */
  get missing(): number {
    return this.#wanted - this.#places.size;
  }

  /** The place with the shortest wait; undefined where a session has to be started first. */
  choose(): SigningPlace | undefined {
    const [best] = [...this.#places].sort((a, b) => a.load - b.load);
    if (best === undefined || best.isSpent) return undefined;
    if (best.load > 0 && this.#places.size < this.#most) {
      this.#wanted = this.#most;
      return undefined;
    }
    return best;
  }

  add(session: SigningSession): void {
    this.#places.add(
      new SigningPlace(session, (place) => {
        this.#places.delete(place);
      }),
    );
  }

  /** Makes do with those there are, from now on. */
  settle(): void {
    this.#most = this.#places.size;
    this.#wanted = this.#places.size;
  }

  /** Ends those that have been used often enough. */
  async endSpent(): Promise<void> {
    for (const place of this.#places) if (place.isSpent) await place.end();
  }

  /** Wipes all, where their connection has ended. */
  forget(): void {
    for (const place of this.#places) place.forget();
    this.#places.clear();
  }

  /** Ends all but `keep`. */
  async end(keep = 0): Promise<void> {
    for (const place of [...this.#places].slice(keep)) await place.end();
  }
}
