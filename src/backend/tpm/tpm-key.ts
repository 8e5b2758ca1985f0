/** A key of this backend: its stored record, read and checked once, and how it gets into the TPM. */
import type { KeyBlobRecord, KeyBlobStore } from '../backend.ts';
import { isAlgorithm, type Algorithm } from '../../wire/algorithms.ts';
import { jwkAlgorithm, type PublicJwk } from '../../wire/jwk.ts';
import { KeydError } from '../../wire/problem.ts';
import { hasAttributes, parsePublicArea, type PublicArea } from '../../wire/tpm/public-area.ts';
import { publicAreaName } from '../../wire/tpm/name.ts';
import { publicAreaToJwk } from '../../wire/tpm/public-key.ts';
import type { ObjectSource } from './context-cache.ts';
import type { AuthDeriver } from './key-auth.ts';
import type { OpenTpm } from './tpm-connection.ts';
import { decodeTss2PrivateKey } from './tss2-private-key.ts';

export interface TpmKey {
  readonly record: KeyBlobRecord;
  readonly area: PublicArea;
  /** TPMT_PUBLIC, marshalled. */
  readonly publicArea: Uint8Array;
  /** Name of the public area (Part 1 §16). */
  readonly name: Uint8Array;
  /** Contents of TPM2B_PRIVATE. */
  readonly privateArea: Uint8Array;
  readonly publicJwk: PublicJwk;
}

/** @throws KeydError `malformed_structure` if the record is not one this backend wrote */
export function readTpmKey(record: KeyBlobRecord): TpmKey {
  const { publicArea, privateArea } = decodeTss2PrivateKey(record.blob);
  return tpmKey(record, publicArea, privateArea);
}

/** @throws KeydError `malformed_structure` if the public area is not of the record's algorithm */
export function tpmKey(record: KeyBlobRecord, publicArea: Uint8Array, privateArea: Uint8Array): TpmKey {
  const area = parsePublicArea(publicArea);
  const publicJwk = publicAreaToJwk(area);
  if (!isAlgorithm(record.algorithm) || jwkAlgorithm(publicJwk) !== record.algorithm) {
    throw new KeydError(
      'malformed_structure',
      `The record of key ${record.keyId} holds a ${publicJwk.alg} key`,
    );
  }
  return { record, area, publicArea, name: publicAreaName(publicArea), privateArea, publicJwk };
}

/** How the key is loaded under the SRK; a blob that this TPM did not make is `key_not_found`. */
export function keySource(key: TpmKey, tpm: OpenTpm, auths: AuthDeriver): ObjectSource {
  return {
    id: key.record.keyId,
    slotsToLoad: 2,
    load: () =>
      tpm.esys.load({ parent: tpm.srk.handle, inPrivate: key.privateArea, inPublic: key.publicArea }),
    auth: () => auths.keyAuth(key.record),
  };
}

/** Whether the TPM lets the private key out in any way: duplication, or another parent. */
export function isExportable(area: PublicArea): boolean {
  return !hasAttributes(area, 'fixedTPM', 'fixedParent', 'sensitiveDataOrigin');
}

/** Keys by id, from the store and remembered, for a record never changes. Bounded, but for ephemeral keys. */
export class TpmKeyTable {
  readonly #store: KeyBlobStore;
  /** Keys that are nowhere else (S15). */
  readonly #ephemeral = new Map<string, TpmKey>();
  /** Least recently used first. */
  readonly #known = new Map<string, TpmKey>();
  /** Keys whose blobs are being erased: they are gone for whoever asks, whatever the store still holds. */
  readonly #erasing = new Set<string>();
  /** How many were erased: a record that was read before one of them may be of a key that is gone. */
  #erased = 0;

  constructor(store: KeyBlobStore) {
    this.#store = store;
  }

  async find(keyId: string): Promise<TpmKey | undefined> {
    const ephemeral = this.#ephemeral.get(keyId);
    if (ephemeral !== undefined) return ephemeral;
    if (this.#erasing.has(keyId)) return undefined;
    const known = this.#known.get(keyId);
    if (known !== undefined) {
      this.#known.delete(keyId);
      this.#known.set(keyId, known);
      return known;
    }
    const erased = this.#erased;
    const record = await this.#store.get(keyId);
    if (erased !== this.#erased) return this.find(keyId);
    if (record === undefined || this.#erasing.has(keyId)) return undefined;
    return this.#remember(readTpmKey(record));
  }

  /** @throws KeydError `key_not_found` */
  async get(keyId: string): Promise<TpmKey> {
    const key = await this.find(keyId);
    if (key === undefined)
      throw new KeydError('key_not_found', `There is no key ${keyId} in the TPM’s store`);
    return key;
  }

  async list(): Promise<readonly TpmKey[]> {
    return [...(await this.#store.list()).map(readTpmKey), ...this.#ephemeral.values()];
  }

  /** Keeps a key in memory only. */
  addEphemeral(key: TpmKey): void {
    this.#ephemeral.set(key.record.keyId, key);
  }

  async add(key: TpmKey): Promise<void> {
    await this.#store.put(key.record);
    this.#remember(key);
  }

  /** Wipes and forgets the only copy of an ephemeral key's wrapped form; false where there is no such key. */
  deleteEphemeral(keyId: string): boolean {
    this.#ephemeral.get(keyId)?.privateArea.fill(0);
    return this.#ephemeral.delete(keyId);
  }

  async delete(keyId: string): Promise<void> {
    this.#known.delete(keyId);
    this.#erasing.add(keyId);
    try {
      await this.#store.delete(keyId);
    } finally {
      this.#erased += 1;
      this.#erasing.delete(keyId);
    }
  }

  #remember(key: TpmKey): TpmKey {
    this.#known.set(key.record.keyId, key);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN) break;
      this.#known.delete(oldest);
    }
    return key;
  }
}

/**
 * As many as there are saved contexts (context-cache.ts), up to 9 KiB each: reading one anew costs a tenth of a
 * signature.
 */
const MAX_KNOWN = 16_384;

/** The digest length of an algorithm that a TPM signs digests for. */
export function isTpmAlgorithm(algorithm: Algorithm, rsa: boolean): boolean {
  return (
    algorithm === 'ES256' ||
    algorithm === 'ES384' ||
    (rsa && (algorithm === 'RS256' || algorithm === 'PS256'))
  );
}
