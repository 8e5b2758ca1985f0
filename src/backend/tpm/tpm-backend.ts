/** Agent keys in a TPM 2.0: children of the SRK, kept as TSS2 PRIVATE KEY blobs, used through saved contexts. */
import { setTimeout as delay } from 'node:timers/promises';
import { silentLogger, type Logger } from '../../base/logger.ts';
import { ALGORITHMS, type Algorithm } from '../../wire/algorithms.ts';
import { KeydError } from '../../wire/problem.ts';
import { TPMA_OBJECT, type ObjectAttribute } from '../../wire/tpm/constants.ts';
import { hasAttributes, parsePublicArea } from '../../wire/tpm/public-area.ts';
import type { Attester } from '../attester.ts';
import type { CommandAudit, CommandAuditMemory } from '../command-audit.ts';
import type { CounterMemory, MonotonicCounter } from '../counter.ts';
import type {
  BackendDescription,
  Erasure,
  GenerateRequest,
  HardwareKey,
  KeyBackend,
  KeyBlobStore,
  KeyProtection,
  SignInput,
  SignOptions,
} from '../backend.ts';
import { readLoadedPublic } from './context-cache.ts';
import { AuthDeriver } from './key-auth.ts';
import { SignAudit } from './sign-audit.ts';
import { TpmCommandAudit } from './tpm-command-audit.ts';
import { refuseAborted } from '../refuse-aborted.ts';
import { TpmAttester } from './tpm-attester.ts';
import { TpmConnection } from './tpm-connection.ts';
import { TpmCounter } from './tpm-counter.ts';
import { assuranceOf } from './tpm-facts.ts';
import type { TpmMemory } from './tpm-identity.ts';
import { isExportable, isTpmAlgorithm, keySource, TpmKeyTable, type TpmKey } from './tpm-key.ts';
import { createTpmKey } from './tpm-key-creation.ts';
import { digestToSign, signIfLoaded, signOnTpm, type SessionProtection } from './tpm-signing.ts';
import { RefusedAuths, type RefusedAuthStore } from './refused-auths.ts';
import { tss2PrivateKeyToPem } from './tss2-private-key.ts';

export interface TpmBackendOptions {
  /** TCTI configuration: `device:/dev/tpmrm0`, `swtpm:path=/run/x/tpm`, `swtpm:host=127.0.0.1,port=2321`. */
  readonly tcti: string;
  /** At least 32 octets; the auth of every key is derived from it (DECISIONS 13). */
  readonly secret: Uint8Array;
  readonly store: KeyBlobStore;
  readonly memory: TpmMemory;
  readonly refusedAuths: RefusedAuthStore;
  readonly logger?: Logger;
  /** How a key's auth travels in TPM2_Sign; `password` unless said (docs/decisions/0006). */
  readonly sessionProtection?: SessionProtection;
  /** Offer RS256 and PS256; making an RSA key keeps a TPM busy for seconds (S20). Off unless said. */
  readonly rsa?: boolean;
  /** Modulus of new RSA keys; 2048 unless said. */
  readonly rsaBits?: 2048 | 3072;
  /** How many operations may wait for the TPM; 1024 unless said. */
  readonly queueLimit?: number;
  /** Have the TPM keep a digest over every TPM2_Sign (docs/decisions/0041). Off unless given. */
  readonly commandAudit?: {
    readonly memory: CommandAuditMemory;
    /** Whether other programs sign with this TPM too. */
    readonly isShared: boolean;
  };
}

const STATEMENT =
  'The key’s blob and salt were erased here. Whoever kept a copy of both and has the daemon’s secret can still use the key on this TPM; only TPM2_Clear ends that.';
const EPHEMERAL_STATEMENT =
  'The key was flushed from the TPM, and what could bring it back was never written and is wiped from memory.';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** `describe` asks the TPM for a sign of life at most this often. */
const PROBE_INTERVAL_MS = 1_000;
/** How long opening waits for a TPM that does not answer; it then goes on in the background. */
const OPEN_TIMEOUT_MS = 5_000;
/** Longer than the slowest command of a slow chip, an RSA key. */
const STALLED_AFTER_MS = 120_000;

/**
 * Opens the backend. A TPM that is absent is no error: the state is then `unavailable`, and every call tries anew.
 * @throws KeydError `configuration_invalid` for a secret that is too short
 */
export async function openTpmBackend(options: TpmBackendOptions): Promise<TpmBackend> {
  const backend = new TpmBackend(options);
  await backend.commandAudit?.resume();
  const waiting = new AbortController();
  const timeout = delay(OPEN_TIMEOUT_MS, undefined, { signal: waiting.signal }).catch(() => undefined);
  await Promise.race([backend.describe(), timeout]);
  waiting.abort();
  return backend;
}

export class TpmBackend implements KeyBackend {
  readonly kind = 'tpm';
  readonly attester: Attester;
  /** Undefined where it is off. */
  readonly commandAudit: CommandAudit | undefined;
  readonly #audit: SignAudit | undefined;
  readonly #connection: TpmConnection;
  readonly #keys: TpmKeyTable;
  readonly #auths: AuthDeriver;
  readonly #protection: SessionProtection;
  readonly #algorithms: readonly Algorithm[];
  readonly #rsaBits: 2048 | 3072;
  readonly #logger: Logger;
  readonly #refused: RefusedAuths;
  #probedAt = Number.NEGATIVE_INFINITY;

  /** Use `openTpmBackend`. */
  constructor(options: TpmBackendOptions) {
    this.#auths = new AuthDeriver(options.secret);
    this.#refused = new RefusedAuths(options.refusedAuths, this.#auths);
    this.#connection = new TpmConnection(options);
    this.#keys = new TpmKeyTable(options.store);
    this.#protection = options.sessionProtection ?? 'password';
    this.#algorithms = ALGORITHMS.filter((algorithm) => isTpmAlgorithm(algorithm, options.rsa === true));
    this.#rsaBits = options.rsaBits ?? 2048;
    this.#logger = options.logger ?? silentLogger;
    this.attester = new TpmAttester({
      connection: this.#connection,
      keys: this.#keys,
      auths: this.#auths,
      protection: this.#protection,
      logger: this.#logger,
    });
    if (options.commandAudit === undefined) return;
    this.#audit = new SignAudit();
    this.commandAudit = new TpmCommandAudit({
      ...options.commandAudit,
      connection: this.#connection,
      auths: this.#auths,
      audit: this.#audit,
    });
  }

  async describe(): Promise<BackendDescription> {
    await this.#probe();
    const { facts, tcti } = this.#connection;
    const fault = this.#fault();
    const [assurance, assuranceReason] = assuranceOf(facts, tcti);
    return {
      kind: this.kind,
      state: fault !== undefined ? 'unavailable' : facts === undefined ? 'starting' : 'ready',
      ...(fault === undefined ? {} : { fault }),
      algorithms: this.#algorithms,
      assurance,
      assuranceReason,
      hardware: { ...facts },
    };
  }

  async generate(request: GenerateRequest): Promise<HardwareKey> {
    const { keyId, algorithm } = request;
    this.#require(keyId);
    if (!this.#algorithms.includes(algorithm)) {
      const off = isTpmAlgorithm(algorithm, true)
        ? 'RSA on the TPM is off'
        : `A TPM makes no ${algorithm} keys`;
      throw new KeydError('unsupported_algorithm', `${off}; choose one of ${this.#algorithms.join(', ')}`);
    }
    const key = await this.#connection.run(async (tpm) => {
      // Asked where nothing else runs, so that two calls with one id can not both pass.
      if ((await this.#keys.find(keyId)) !== undefined)
        throw new KeydError('conflict', `The key ${keyId} exists`);
      const template = { rsaBits: this.#rsaBits };
      const made = await createTpmKey(tpm, {
        request,
        auths: this.#auths,
        protection: this.#protection,
        audit: this.#audit,
        template,
      });
      if (request.ephemeral === true) this.#keys.addEphemeral(made);
      else await this.#keys.add(made);
      return made;
    });
    return toHardwareKey(key);
  }

  async find(keyId: string): Promise<HardwareKey | undefined> {
    this.#require(keyId);
    const key = await this.#keys.find(keyId);
    return key === undefined ? undefined : toHardwareKey(key);
  }

  async list(): Promise<readonly HardwareKey[]> {
    return (await this.#keys.list()).map(toHardwareKey);
  }

  async sign(keyId: string, input: SignInput, options: SignOptions = {}): Promise<Uint8Array> {
    this.#require(keyId);
    refuseAborted(options.signal);
    const key = await this.#usable(keyId);
    const digest = digestToSign(key.record.algorithm, input);
    const how = { digest, auths: this.#auths, protection: this.#protection, audit: this.#audit, ...options };
    try {
      // Asked again when it is this one's turn: a key destroyed meanwhile signs nothing more.
      const signature = await this.#connection.runQuickly(
        async (tpm) => signIfLoaded(tpm, { key: await this.#usable(keyId), ...how }),
        async (tpm) => signOnTpm(tpm, { key: await this.#usable(keyId), ...how }),
        options.signal,
      );
      this.#refused.accepted(keyId);
      return signature;
    } catch (thrown) {
      if (thrown instanceof KeydError && thrown.code === 'tpm_auth_failed') await this.#refused.refused(key);
      throw thrown;
    }
  }

  async readProtection(keyId: string): Promise<KeyProtection> {
    this.#require(keyId);
    const key = await this.#keys.get(keyId);
    const octets = await this.#connection.run(async (tpm) => {
      const handle = await tpm.objects.acquire(keySource(key, tpm, this.#auths));
      return readLoadedPublic(tpm.esys, handle);
    });
    const area = parsePublicArea(octets);
    const names = Object.keys(TPMA_OBJECT) as ObjectAttribute[];
    return {
      exportable: isExportable(area),
      attributes: Object.fromEntries(names.map((name) => [name, hasAttributes(area, name)])),
    };
  }

  async destroy(keyId: string): Promise<Erasure> {
    this.#require(keyId);
    const ephemeral = this.#keys.deleteEphemeral(keyId);
    if (!ephemeral) await this.#keys.delete(keyId);
    this.#refused.forget(keyId);
    await this.#unload(keyId);
    return { erased: 'local-copies', statement: ephemeral ? EPHEMERAL_STATEMENT : STATEMENT };
  }

  /**
   * The key as a TSS2 PRIVATE KEY file (PEM), without its auth value.
   * @throws KeydError `key_not_found`
   */
  async exportTss2(keyId: string): Promise<string> {
    this.#require(keyId);
    const { blob } = (await this.#keys.get(keyId)).record;
    if (blob.length === 0)
      throw new KeydError('key_not_found', `The key ${keyId} is ephemeral and has no file`);
    return tss2PrivateKeyToPem(blob);
  }

  /** Accepts the TPM that is there now, after `tpm_cleared` or `tpm_replaced`. Keys made before stay unusable. */
  adoptTpm(): Promise<void> {
    return this.#connection.adopt();
  }

  /** The counter of this host in the TPM. @param nvIndex where it is defined at first use */
  counter(memory: CounterMemory, nvIndex: number): MonotonicCounter {
    const connection = this.#connection;
    return new TpmCounter({ connection, auths: this.#auths, protection: this.#protection, memory, nvIndex });
  }

  async close(): Promise<void> {
    await this.#connection.close();
    this.#auths.close();
  }

  async #usable(keyId: string): Promise<TpmKey> {
    const key = await this.#keys.get(keyId);
    await this.#refused.check(key);
    return key;
  }

  // Without its record the key is destroyed; what a TPM that is away had loaded is lost to it anyway.
  async #unload(keyId: string): Promise<void> {
    if (this.#connection.fault !== undefined) return;
    try {
      await this.#connection.run((tpm) => tpm.objects.drop(keyId));
    } catch (thrown) {
      this.#logger.warn({ keyId, err: thrown }, 'a destroyed key could not be flushed from the TPM');
    }
  }

  #require(keyId: string): void {
    this.#connection.requireOpen();
    if (!UUID.test(keyId)) throw new KeydError('malformed_request', 'A key id is a UUID in lower case');
  }

  #fault(): string | undefined {
    const runningForMs = this.#connection.runningForMs ?? 0;
    if (runningForMs < STALLED_AFTER_MS) return this.#connection.fault?.message;
    return `The TPM has not answered for ${Math.round(runningForMs / 1000)} s; is its driver or simulator stuck?`;
  }

  // A busy TPM lives: no sign of life is queued behind the work of others.
  async #probe(): Promise<void> {
    const now = performance.now();
    if (this.#connection.runningForMs !== undefined || now - this.#probedAt < PROBE_INTERVAL_MS) return;
    this.#probedAt = now;
    try {
      await this.#connection.probe();
    } catch (thrown) {
      if (!(thrown instanceof KeydError)) throw thrown;
      // Kept by the connection as its fault, which `describe` tells.
    }
  }
}

function toHardwareKey({ record, publicJwk }: TpmKey): HardwareKey {
  const { keyId, purpose, algorithm } = record;
  return { keyId, purpose, algorithm, publicJwk };
}
