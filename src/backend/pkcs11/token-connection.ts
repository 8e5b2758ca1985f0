/** The module host's hold on its one token: module, library state, sessions, login. */
import { ALGORITHMS } from '../../wire/algorithms.ts';
import { KeydError } from '../../wire/problem.ts';
import { CKF, CKR, CKS_RW_USER_FUNCTIONS } from './constants.ts';
import { Cryptoki, CryptokiError, type Handle, type RawTokenInfo } from './cryptoki.ts';
import { isOffered } from './mechanisms.ts';
import type { ConnectRequest, TokenReport } from './module-host-messages.ts';
import { isPinRefusal } from './return-value.ts';
import { SessionPool } from './session-pool.ts';

interface Connection {
  readonly slot: Handle;
  readonly serial: string;
  readonly sessions: SessionPool;
}

export class TokenConnection {
  readonly #cryptoki = new Cryptoki();
  #loadedModule: string | undefined;
  #initialized = false;
  #connection: Connection | undefined;
  #pin: Buffer | undefined;
  #generation = 0;

  /** Counts connections: object handles of an earlier one mean nothing. */
  get generation(): number {
    return this.#generation;
  }

  get cryptoki(): Cryptoki {
    return this.#cryptoki;
  }

  /**
   * Finds the token, from nothing or after it was lost. The library is finalized and initialized again: its
   * slot list and object cache do not survive the token's absence (SoftHSM and others).
   * @throws KeydError `backend_unavailable`, `token_unavailable`; CryptokiError
   */
  connect(request: ConnectRequest): TokenReport {
    this.#load(request.module);
    this.#connection = undefined;
    this.#generation++;
    this.#reinitialize();
    const { slot, info } = this.#select(request);
    const mechanisms = new Set(this.#cryptoki.mechanisms(slot));
    this.#connection = { slot, serial: info.serial, sessions: new SessionPool(this.#cryptoki, slot) };
    return { ...info, algorithms: ALGORITHMS.filter((algorithm) => isOffered(algorithm, mechanisms)) };
  }

  /** Logs in with `pin`, or with the one given before if it is empty. A PIN that was refused is forgotten. */
  login(pin: Buffer): void {
    // The socket's buffer will be reused, and the PIN is needed again when the token comes back.
    if (pin.length > 0) this.#pin = Buffer.from(pin);
    const given = this.#pin;
    if (given === undefined) throw new KeydError('token_login_failed', 'The module host was given no PIN');
    this.use((session) => {
      if (this.#cryptoki.sessionState(session) === CKS_RW_USER_FUNCTIONS) return;
      try {
        this.#cryptoki.login(session, given);
      } catch (thrown) {
        if (!(thrown instanceof CryptokiError)) throw thrown;
        if (thrown.rv === CKR.userAlreadyLoggedIn) return;
        if (isPinRefusal(thrown.rv)) this.#forgetPin();
        throw thrown;
      }
    });
  }

  /** Runs `work` with a leased session. @throws CryptokiError as for a lost session if there is no connection */
  use<T>(work: (session: Handle) => T): T {
    return this.#connected().sessions.use(work);
  }

  /**
   * Makes sure that the same token is still there and logged in. To be asked before "not found" is believed:
   * a token that went away, or a session that lost its login, shows an empty list of objects.
   */
  assertPresent(session: Handle): void {
    const { slot, serial } = this.#connected();
    if (this.#cryptoki.tokenInfo(slot).serial !== serial) {
      throw new CryptokiError(
        CKR.tokenNotPresent,
        'C_GetTokenInfo',
        'another token is in the slot',
        undefined,
      );
    }
    if (this.#cryptoki.sessionState(session) !== CKS_RW_USER_FUNCTIONS) {
      throw new CryptokiError(CKR.userNotLoggedIn, 'C_GetSessionInfo', 'the login was lost', undefined);
    }
  }

  #connected(): Connection {
    if (this.#connection === undefined) {
      throw new CryptokiError(CKR.sessionHandleInvalid, 'C_OpenSession', 'not connected', undefined);
    }
    return this.#connection;
  }

  #load(module: string): void {
    if (this.#loadedModule === module) return;
    if (this.#loadedModule !== undefined) {
      throw new KeydError('internal', 'A module host loads one module in its life');
    }
    try {
      this.#cryptoki.load(module);
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      throw new KeydError(
        'backend_unavailable',
        `The PKCS#11 module can not be loaded (${reason}): check its path`,
      );
    }
    this.#loadedModule = module;
  }

  #reinitialize(): void {
    if (this.#initialized) {
      this.#initialized = false;
      try {
        this.#cryptoki.finalize();
      } catch (thrown) {
        if (!(thrown instanceof CryptokiError) || thrown.rv !== CKR.cryptokiNotInitialized) throw thrown;
      }
    }
    this.#cryptoki.initialize();
    this.#initialized = true;
  }

  #select(request: ConnectRequest): { readonly slot: Handle; readonly info: RawTokenInfo } {
    const wanted = describeSelector(request);
    const matches = this.#cryptoki
      .slots()
      .map((slot) => ({ slot, info: this.#cryptoki.tokenInfo(slot) }))
      .filter(
        ({ info }) =>
          (info.flags & CKF.tokenInitialized) !== 0 &&
          (request.tokenLabel === undefined || info.label === request.tokenLabel) &&
          (request.tokenSerial === undefined || info.serial === request.tokenSerial),
      );
    const [match, ...others] = matches;
    if (match === undefined) {
      throw new KeydError(
        'token_unavailable',
        `No token ${wanted} is present: plug it in or mend the configuration`,
      );
    }
    if (others.length > 0) {
      const serials = matches.map(({ info }) => info.serial).join(', ');
      throw new KeydError(
        'token_unavailable',
        `${matches.length} tokens ${wanted} are present (serials ${serials}): name one by its serial`,
      );
    }
    return match;
  }

  #forgetPin(): void {
    this.#pin?.fill(0);
    this.#pin = undefined;
  }
}

function describeSelector(request: ConnectRequest): string {
  const { tokenLabel, tokenSerial } = request;
  const parts = [
    ...(tokenLabel === undefined ? [] : [`labelled ${JSON.stringify(tokenLabel)}`]),
    ...(tokenSerial === undefined ? [] : [`with serial ${JSON.stringify(tokenSerial)}`]),
  ];
  return parts.join(' and ');
}
