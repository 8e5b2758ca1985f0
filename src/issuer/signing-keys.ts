/**
 * The issuer's own keys, one per purpose, in hardware (DECISIONS 12). The only file of the issuer that
 * reaches a key backend.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { KeyBackend } from '../backend/backend.ts';
import { openPinFailureFile } from '../backend/pkcs11/pin-failure-file.ts';
import { openPkcs11Backend } from '../backend/pkcs11/pkcs11-backend.ts';
import type { Logger } from '../base/logger.ts';
import type { Algorithm } from '../wire/algorithms.ts';
import { jwkThumbprint, type PublicJwk } from '../wire/jwk.ts';
import { joinJws, jwsSigningInput } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import type { IssuerConfig } from './config.ts';
import { readSecret } from './secret-source.ts';
import type { KeyStore } from './store/key-store.ts';

/** Purpose -> algorithm. A known AAuth person server takes agent tokens by Ed25519 only. */
export const ISSUER_KEY_PURPOSES = {
  challenge: 'ES256',
  x509Ca: 'ES256',
  wit: 'ES256',
  agentToken: 'Ed25519',
  ear: 'ES256',
  status: 'ES256',
  grant: 'ES256',
} as const satisfies Readonly<Record<string, Algorithm>>;

export type IssuerKeyPurpose = keyof typeof ISSUER_KEY_PURPOSES;

const PURPOSES = Object.keys(ISSUER_KEY_PURPOSES) as readonly IssuerKeyPurpose[];

interface IssuerKey {
  readonly keyId: string;
  readonly publicJwk: PublicJwk;
}

const PIN_HASH_KEY_OCTETS = 32;
const TOKEN_POLL_MS = 100;

/**
 * Opens the token of the configuration and waits until it can sign.
 * @throws KeydError `token_*`, `backend_unavailable` where it can not within `timeoutMs`
 */
export async function openIssuerBackend(
  config: Pick<IssuerConfig, 'keys' | 'stateDirectory'>,
  logger: Logger,
  timeoutMs: number,
): Promise<KeyBackend> {
  const { module, tokenLabel, pin, softhsm2Conf } = config.keys;
  const backend = await openPkcs11Backend({
    module,
    tokenLabel,
    pin: () => Promise.resolve(Buffer.from(readSecret(pin, 'keys.pin'))),
    pinFailures: openPinFailureFile(join(config.stateDirectory, 'refused-pins')),
    pinHashKey: pinHashKey(join(config.stateDirectory, 'refused-pins.key')),
    ...(softhsm2Conf === undefined ? {} : { softhsm2Conf }),
    logger,
  });
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const { state, fault } = await backend.describe();
    if (state === 'ready') return backend;
    if (Date.now() >= deadline) {
      await backend.close();
      throw new KeydError('backend_unavailable', fault ?? 'the token did not become ready');
    }
    await delay(TOKEN_POLL_MS);
  }
}

/** Keys the hashes of refused PINs; made at first use, and as private as the state directory. */
function pinHashKey(file: string): Uint8Array {
  try {
    writeFileSync(file, randomBytes(PIN_HASH_KEY_OCTETS), { mode: 0o600, flag: 'wx' });
  } catch (thrown) {
    if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'EEXIST')) throw thrown;
  }
  return readFileSync(file);
}

/** Signs for a purpose; a key never signs for another. Calls reject with the backend's codes. */
export class SigningKeys {
  readonly #backend: KeyBackend;
  readonly #keys: ReadonlyMap<IssuerKeyPurpose, IssuerKey>;

  private constructor(backend: KeyBackend, keys: ReadonlyMap<IssuerKeyPurpose, IssuerKey>) {
    this.#backend = backend;
    this.#keys = keys;
  }

  /**
   * Finds every key in the backend.
   * @throws KeydError `key_not_found` where one was never made or hardware does not hold it
   */
  static async open(backend: KeyBackend, store: KeyStore): Promise<SigningKeys> {
    const keys = new Map<IssuerKeyPurpose, IssuerKey>();
    for (const purpose of PURPOSES) {
      const record = await store.find(purpose);
      const key = record === undefined ? undefined : await backend.find(record.keyId);
      if (key === undefined) {
        throw new KeydError(
          'key_not_found',
          `the token holds no key for ${purpose}; on a new issuer run "agentkey-issuer keys init", else bring the token back`,
        );
      }
      checkKnown(purpose, record?.publicJwk, key.publicJwk);
      keys.set(purpose, { keyId: key.keyId, publicJwk: key.publicJwk });
    }
    return new SigningKeys(backend, keys);
  }

  /**
   * Makes the keys that were never made. A key that was made and is missing now is not replaced: hosts have
   * pinned it.
   * @returns the purposes a key was made for
   * @throws KeydError `key_not_found` for a lost key
   */
  static async initialise(
    backend: KeyBackend,
    store: KeyStore,
    nowSeconds: number,
  ): Promise<readonly IssuerKeyPurpose[]> {
    const made: IssuerKeyPurpose[] = [];
    for (const purpose of PURPOSES) {
      // The identifier is durable first: a crash after the key was made finds that key again.
      await store.reserve(purpose, randomUUID(), nowSeconds);
      const record = await store.find(purpose);
      if (record === undefined) throw new KeydError('internal', `no identifier for the ${purpose} key`);
      let key = await backend.find(record.keyId);
      if (key === undefined && record.publicJwk !== undefined) {
        throw new KeydError('key_not_found', `the ${purpose} key was made and is gone; it is not replaced`);
      }
      if (key === undefined) {
        const algorithm = ISSUER_KEY_PURPOSES[purpose];
        key = await backend.generate({ keyId: record.keyId, purpose: 'issuer', algorithm });
        made.push(purpose);
      }
      checkKnown(purpose, record.publicJwk, key.publicJwk);
      await store.setPublicJwk(purpose, key.publicJwk);
    }
    return made;
  }

  publicJwk(purpose: IssuerKeyPurpose): PublicJwk {
    return this.#key(purpose).publicJwk;
  }

  /** UUID of the key in the backend. */
  keyId(purpose: IssuerKeyPurpose): string {
    return this.#key(purpose).keyId;
  }

  /** JOSE signature octets over `octets`, hashed as the algorithm says. */
  sign(purpose: IssuerKeyPurpose, octets: Uint8Array): Promise<Uint8Array> {
    return this.#backend.sign(this.#key(purpose).keyId, { kind: 'message', octets });
  }

  /** A compact JWS with `alg` and `kid` (RFC 7638 thumbprint) of the purpose's key. */
  async signJwt(
    purpose: IssuerKeyPurpose,
    typ: string,
    claims: Readonly<Record<string, unknown>>,
  ): Promise<string> {
    const { publicJwk } = this.#key(purpose);
    const input = jwsSigningInput({ alg: publicJwk.alg, typ, kid: jwkThumbprint(publicJwk) }, claims);
    return joinJws(input, await this.sign(purpose, Buffer.from(input)));
  }

  /** Resolves where the backend can sign now. @throws KeydError `backend_*`, `token_*` */
  async check(): Promise<void> {
    const { state, fault } = await this.#backend.describe();
    if (state === 'starting') throw new KeydError('backend_starting', fault ?? 'the token is starting');
    if (state !== 'ready') throw new KeydError('backend_unavailable', fault ?? 'the token is not available');
  }

  close(): Promise<void> {
    return this.#backend.close();
  }

  #key(purpose: IssuerKeyPurpose): IssuerKey {
    const key = this.#keys.get(purpose);
    if (key === undefined) throw new KeydError('internal', `no ${purpose} key`);
    return key;
  }
}

function checkKnown(purpose: IssuerKeyPurpose, known: PublicJwk | undefined, found: PublicJwk): void {
  const wanted = ISSUER_KEY_PURPOSES[purpose];
  if (found.alg !== wanted) {
    throw new KeydError('key_not_found', `the ${purpose} key is an ${found.alg} key, not ${wanted}`);
  }
  if (known !== undefined && jwkThumbprint(known) !== jwkThumbprint(found)) {
    throw new KeydError('key_not_found', `the token holds another ${purpose} key than the one that was made`);
  }
}
