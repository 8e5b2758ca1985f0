/** Indices on the issuer's status lists, for links that agents of this host sign, and their revocation (S18). */
import type { HardwareKey, KeyBackend } from '../backend/backend.ts';
import { parse } from '../wire/check.ts';
import {
  MAX_STATUS_REFERENCES,
  STATUS_INDICES_PATH,
  STATUS_REVOCATIONS_PATH,
  statusIndicesAnswer,
  statusListNumber,
  statusRevocationsAnswer,
  type StatusReference,
} from '../wire/issuance/status.ts';
import { KeydError } from '../wire/problem.ts';
import { postSigned } from './host-request.ts';
import { IssuerChannel, type IssuerEndpoint } from './issuer-channel.ts';

export interface StatusIndicesOptions {
  readonly endpoint: IssuerEndpoint;
  /** Holds the host key. */
  readonly tpm: KeyBackend;
  /** UUID of the host key; undefined until the host is enrolled. */
  readonly hostKeyId: () => string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export class IssuerStatusIndices {
  readonly #options: StatusIndicesOptions;

  constructor(options: StatusIndicesOptions) {
    this.#options = options;
  }

  /** So many indices that nobody else has or had. @throws KeydError `not_enrolled`, `issuer_*`, `tpm_*` */
  async allocate(count: number): Promise<readonly StatusReference[]> {
    const { url } = this.#options.endpoint;
    const given: StatusReference[] = [];
    await this.#exchange(async (post) => {
      while (given.length < count) {
        const wanted = Math.min(count - given.length, MAX_STATUS_REFERENCES);
        const { status } = parse(
          statusIndicesAnswer,
          await post(STATUS_INDICES_PATH, { count: wanted }),
          'issuer_refused',
        );
        given.push(...status);
        if (status.length !== wanted) refuse(`${wanted} indices were asked for, ${status.length} came`);
      }
    });
    if (given.some(({ uri }) => statusListNumber(url, uri) === undefined)) {
      refuse('a status list elsewhere was named');
    }
    if (new Set(given.map(({ idx, uri }) => `${uri} ${idx}`)).size !== given.length) {
      refuse('an index was given twice');
    }
    return given;
  }

  /** Resolves when the issuer has it; what was revoked before may be named again. @throws KeydError as `allocate` */
  async revoke(references: readonly StatusReference[]): Promise<void> {
    await this.#exchange(async (post) => {
      for (let from = 0; from < references.length; from += MAX_STATUS_REFERENCES) {
        const status = references.slice(from, from + MAX_STATUS_REFERENCES);
        parse(statusRevocationsAnswer, await post(STATUS_REVOCATIONS_PATH, { status }), 'issuer_refused');
      }
    });
  }

  /** A connection of its own: nothing here is evidence, and renewals that are under way hold up no revocation. */
  async #exchange(
    work: (post: (path: string, value: unknown) => Promise<unknown>) => Promise<void>,
  ): Promise<void> {
    const { endpoint, now, tpm } = this.#options;
    const hostKey = await this.#hostKey();
    const channel = new IssuerChannel(endpoint);
    try {
      await work((path, value) => postSigned(channel, tpm, hostKey, path, value, now()));
    } finally {
      channel.close();
    }
  }

  async #hostKey(): Promise<HardwareKey> {
    const { hostKeyId, tpm } = this.#options;
    const keyId = hostKeyId();
    const hostKey = keyId === undefined ? undefined : await tpm.find(keyId);
    if (hostKey === undefined) {
      throw new KeydError('not_enrolled', 'this host is not enrolled yet; see `agentkey host status`');
    }
    return hostKey;
  }
}

function refuse(reason: string): never {
  throw new KeydError('issuer_refused', `the issuer’s answer about status lists can not be used: ${reason}`);
}
