/** Where a relying party learns that a token was revoked: lists of pinned authorities, fetched by its own means. */
import { asKeydError, KeydError } from '../wire/problem.ts';
import { STATUS_VALID, verifyStatusList, type StatusList } from './status-list.ts';
import type { TrustedKey } from './trusted-keys.ts';

/** Whose lists count. */
export interface StatusAuthority {
  /** Begins the URI of each of its lists, up to a slash: `https://issuer.example/status/`. */
  readonly prefix: string;
  /** Its status list keys; keys for other purposes do not belong here (S14). */
  readonly keys: readonly TrustedKey[];
}

export interface StatusListsOptions {
  readonly authorities: readonly StatusAuthority[];
  /** The token at this URI, compact; never asked for one that is no authority's. It should heed the signal. */
  readonly fetch: (uri: string, signal: AbortSignal) => Promise<string>;
  /** How old a list may be, seconds: what is revoked is refused that much later at most (S18). */
  readonly maxStatusAgeSeconds: number;
  /** Default 5000. */
  readonly fetchTimeoutMs?: number;
  /** Default 5. */
  readonly clockSkewSeconds?: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

/** As a token refers to its status (draft-ietf-oauth-status-list §6.2). */
export interface StatusReference {
  readonly uri: string;
  readonly idx: number;
}

interface Copy {
  readonly list: StatusList;
  readonly fetchedAtSeconds: number;
}

/** Tokens name lists: how many are kept is not theirs to say. */
const MAX_LISTS = 256;

export class StatusLists {
  readonly #options: StatusListsOptions;
  readonly #copies = new Map<string, Copy>();
  readonly #fetching = new Map<string, Promise<Copy>>();

  /** @throws KeydError `configuration_invalid` */
  constructor(options: StatusListsOptions) {
    const { authorities, maxStatusAgeSeconds } = options;
    if (authorities.length === 0) misconfigured('authorities is empty: no status could be told');
    for (const { prefix, keys } of authorities) {
      // Without the slash, https://issuer.example would be the beginning of https://issuer.example.evil.example.
      if (!/^https:\/\/[^/?#@\s]+\/(?:[^?#\s]*\/)?$/.test(prefix)) {
        misconfigured(`${JSON.stringify(prefix)} is no https URI that ends with a slash`);
      }
      if (keys.length === 0) misconfigured(`${prefix} has no keys`);
    }
    if (!Number.isSafeInteger(maxStatusAgeSeconds) || maxStatusAgeSeconds < 1) {
      misconfigured('maxStatusAgeSeconds must be a whole number of seconds, 1 or more');
    }
    this.#options = options;
  }

  /**
   * Resolves where the token is valid by a list that is fresh enough.
   * @throws KeydError `delegation_revoked` for any other status; `status_unavailable` where none can be told
   */
  async check({ uri, idx }: StatusReference): Promise<void> {
    const list = await this.#list(uri);
    const status = list.statusAt(idx);
    if (status !== STATUS_VALID) {
      throw new KeydError('delegation_revoked', `a token was revoked: its status is ${status}`);
    }
  }

  async #list(uri: string): Promise<StatusList> {
    const copy = this.#copies.get(uri);
    const now = this.#nowSeconds();
    if (copy !== undefined && this.#isFresh(copy.list, now)) {
      const { ttlSeconds = Infinity } = copy.list;
      // Due, but still good: nobody waits for a newer one, and without one this serves until it is too old.
      if (now >= copy.fetchedAtSeconds + ttlSeconds) this.#fetched(uri).catch(() => undefined);
      return copy.list;
    }
    return (await this.#fetched(uri)).list;
  }

  /** Whoever asks while one is under way gets the same. */
  #fetched(uri: string): Promise<Copy> {
    const underWay = this.#fetching.get(uri);
    if (underWay !== undefined) return underWay;
    const fetching = this.#fetch(uri).finally(() => this.#fetching.delete(uri));
    this.#fetching.set(uri, fetching);
    return fetching;
  }

  async #fetch(uri: string): Promise<Copy> {
    const { authorities, clockSkewSeconds = 5, fetch, fetchTimeoutMs = 5000 } = this.#options;
    const authority = authorities.find(({ prefix }) => isBelow(uri, prefix));
    if (authority === undefined) return refuse(`${uri} is the list of no authority that is pinned here`);
    const token = await inTime(fetchTimeoutMs, (signal) => fetch(uri, signal));
    const nowSeconds = this.#nowSeconds();
    const list = verifyStatusList(token, { uri, keys: authority.keys, nowSeconds, clockSkewSeconds });
    if (!this.#isFresh(list, nowSeconds)) refuse(`the list at ${uri} is too old`);
    const copy = { list, fetchedAtSeconds: nowSeconds };
    this.#copies.delete(uri);
    const [oldest] = this.#copies.keys();
    if (oldest !== undefined && this.#copies.size >= MAX_LISTS) this.#copies.delete(oldest);
    this.#copies.set(uri, copy);
    return copy;
  }

  #isFresh({ issuedAtSeconds, expiresAtSeconds = Infinity }: StatusList, nowSeconds: number): boolean {
    return nowSeconds - issuedAtSeconds <= this.#options.maxStatusAgeSeconds && nowSeconds < expiresAtSeconds;
  }

  #nowSeconds(): number {
    return Math.floor((this.#options.clock ?? Date.now)() / 1000);
  }
}

/** In its own spelling: `..` or an escape could lead a fetch out from below the prefix. */
function isBelow(uri: string, prefix: string): boolean {
  return uri.startsWith(prefix) && URL.canParse(uri) && new URL(uri).href === uri;
}

async function inTime(timeoutMs: number, run: (signal: AbortSignal) => Promise<string>): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs);
  const timeout = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => {
      reject(new KeydError('status_unavailable', `no status list came within ${timeoutMs} ms`));
    });
  });
  try {
    const token: unknown = await Promise.race([run(signal), timeout]);
    return typeof token === 'string' ? token : refuse('what was fetched is no text');
  } catch (thrown) {
    const error = asKeydError(thrown);
    if (error.code === 'status_unavailable') throw error;
    return refuse('a status list could not be fetched', thrown);
  }
}

function refuse(why: string, cause?: unknown): never {
  throw new KeydError('status_unavailable', why, { cause });
}

function misconfigured(why: string): never {
  throw new KeydError('configuration_invalid', why);
}
