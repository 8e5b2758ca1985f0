/** The status lists of this issuer: indices for hosts, and the signed lists that verifiers fetch. */
import { deflateSync } from 'node:zlib';
import { encodeBase64url } from '../wire/base64url.ts';
import {
  STATUS_LIST_TYP,
  statusListNumber,
  statusListUri,
  type StatusReference,
} from '../wire/issuance/status.ts';
import { KeydError } from '../wire/problem.ts';
import type { HostRegistry } from './host-registry.ts';
import type { SigningKeys } from './signing-keys.ts';
import type { EnrolledHost } from './store/host-records.ts';
import { LIST_SIZE, type ListedStatus, type StatusStore } from './store/status-store.ts';

/** How long verifiers should use a copy, and how long one counts at all. */
const TTL_SECONDS = 60;
const LIFETIME_SECONDS = 3600;
/** A list that did not change is signed anew when it is so old: hardware signs no more often for readers. */
const REFRESH_SECONDS = 20;

export interface StatusListParts {
  readonly keys: Pick<SigningKeys, 'signJwt'>;
  readonly store: StatusStore;
  readonly hosts: Pick<HostRegistry, 'find'>;
  /** Where the lists are served, without a path. */
  readonly url: string;
  /** `iss` of the lists. */
  readonly issuer: string;
  readonly nowSeconds: () => number;
}

interface SignedList {
  readonly revision: number;
  readonly issuedAtSeconds: number;
  readonly token: Promise<string>;
}

export class StatusLists {
  readonly #parts: StatusListParts;
  /** By number. As many as there are lists, for no other is kept. */
  readonly #signed = new Map<number, SignedList>();

  constructor(parts: StatusListParts) {
    this.#parts = parts;
  }

  /** @throws KeydError `host_not_approved`, `too_many_requests` */
  async allocate({ ekHash }: EnrolledHost, count: number): Promise<readonly StatusReference[]> {
    const { hosts, nowSeconds, store, url } = this.#parts;
    if (hosts.find(ekHash) === undefined) {
      throw new KeydError('host_not_approved', 'the approval of this host was withdrawn');
    }
    const given = await store.allocate(ekHash, count, nowSeconds());
    return given.map(({ idx, list }) => ({ idx, uri: statusListUri(url, list) }));
  }

  /** The place of what is granted to a key of this host; the host may revoke it. @throws KeydError `too_many_requests` */
  async ofGrant({ ekHash }: EnrolledHost, keyThumbprint: string): Promise<StatusReference> {
    const { nowSeconds, store, url } = this.#parts;
    const { idx, list } = await store.ofGrant(ekHash, keyThumbprint, nowSeconds());
    return { idx, uri: statusListUri(url, list) };
  }

  /** Whether a token with this status still holds; one that is told elsewhere, or nowhere, does not. */
  async holds({ idx, uri }: StatusReference): Promise<boolean> {
    const list = statusListNumber(this.#parts.url, uri);
    return list !== undefined && (await this.#parts.store.isRevoked({ list, idx })) === false;
  }

  /** How many were not revoked before. A host that may do nothing any more may still revoke. @throws KeydError `policy_denied` */
  revoke({ ekHash }: EnrolledHost, references: readonly StatusReference[]): Promise<number> {
    const { nowSeconds, store, url } = this.#parts;
    const indices = references.map(({ idx, uri }) => {
      const list = statusListNumber(url, uri);
      if (list === undefined) throw new KeydError('policy_denied', 'this is no list of this issuer');
      return { idx, list };
    });
    return store.revoke(ekHash, indices, nowSeconds());
  }

  /** The list as a Status List Token (§5.1), compact, with every revocation until now. @throws KeydError `not_found` */
  async token(list: number): Promise<string> {
    const revision = await this.#parts.store.revision(list);
    if (revision === undefined) throw new KeydError('not_found', 'there is no such status list');
    const now = this.#parts.nowSeconds();
    const known = this.#signed.get(list);
    if (known?.revision === revision && isRecent(known, now)) return known.token;
    const signed = { revision, issuedAtSeconds: now, token: this.#sign(list, now) };
    this.#signed.set(list, signed);
    // Nobody is given the same failure twice.
    signed.token.catch(() => {
      if (this.#signed.get(list) === signed) this.#signed.delete(list);
    });
    return signed.token;
  }

  async #sign(list: number, now: number): Promise<string> {
    const { issuer, keys, store, url } = this.#parts;
    const statuses = await store.read(list);
    return keys.signJwt('status', STATUS_LIST_TYP, {
      iss: issuer,
      sub: statusListUri(url, list),
      iat: now,
      exp: now + LIFETIME_SECONDS,
      ttl: TTL_SECONDS,
      status_list: { bits: 1, lst: this.#compressed(statuses) },
    });
  }

  /** §4.1: one bit each, the first in the least significant bit. What a host without approval has is revoked. */
  #compressed(statuses: readonly ListedStatus[]): string {
    const octets = new Uint8Array(LIST_SIZE / 8);
    for (const { ekHash, idx, revoked } of statuses) {
      if (!revoked && this.#parts.hosts.find(ekHash) !== undefined) continue;
      const at = Math.floor(idx / 8);
      octets[at] = (octets[at] ?? 0) | (1 << (idx % 8));
    }
    return encodeBase64url(deflateSync(octets, { level: 9 }));
  }
}

/** A clock that was set back makes a list from the future, which nobody takes. */
function isRecent({ issuedAtSeconds }: SignedList, now: number): boolean {
  return issuedAtSeconds <= now && now - issuedAtSeconds < REFRESH_SECONDS;
}
