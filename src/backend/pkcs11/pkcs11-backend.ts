/** KeyBackend over a PKCS#11 token, its module in supervised child processes. Never loads the module itself. */
import { silentLogger } from '../../base/logger.ts';
import { siblingModule } from '../../base/sibling-module.ts';
import { decodeBase64url } from '../../wire/base64url.ts';
import { KeydError } from '../../wire/problem.ts';
import type {
  BackendDescription,
  Erasure,
  GenerateRequest,
  HardwareKey,
  KeyBackend,
  KeyProtection,
  SignInput,
  SignOptions,
} from '../backend.ts';
import { keyIdToOctets } from './key-label.ts';
import { KnownKeys } from './known-keys.ts';
import { judgeProtection, type RsaModulusBits } from './mechanisms.ts';
import { refuseAborted } from '../refuse-aborted.ts';
import {
  decodeMessage,
  encodeMessage,
  findAnswer,
  generatedKey,
  listPage,
  protectionAnswer,
  type ListPage,
} from './module-host-messages.ts';
import { OPERATION } from './module-host-protocol.ts';
import { DEFAULT_TIMING, ModuleHostSupervisor } from './module-host-supervisor.ts';
import { describeToken } from './describe-token.ts';
import { checkOptions, type Pkcs11BackendOptions } from './options.ts';
import { PinGuard } from './pin-guard.ts';
import { tokenConnector } from './token-connector.ts';
import { VerificationThread } from './verification-thread.ts';

export interface Pkcs11Backend extends KeyBackend {
  readonly kind: 'pkcs11';
  /** Process ids of the living module hosts, for status and tests. */
  moduleHostPids(): readonly number[];
}

/**
 * Opens the backend without waiting for the token: until it is there, `describe` says `starting` or
 * `unavailable` and calls are refused. @throws KeydError `configuration_invalid`
 * @param entry the module host's program; tests put a hostile one in its place
 */
export function openPkcs11Backend(
  options: Pkcs11BackendOptions,
  entry: URL = siblingModule(import.meta.url, './module-host'),
): Promise<Pkcs11Backend> {
  return Promise.resolve(options).then((given) => {
    checkOptions(given);
    return new SupervisedBackend(given, entry);
  });
}

const DEFAULT_RSA_MODULUS_BITS: RsaModulusBits = 3072;

const ERASURE: Erasure = {
  erased: 'hardware',
  statement:
    'The token deleted the key objects. Nothing of the private key was outside the token;' +
    ' a backup that the token’s operator made of the token itself may still hold it.',
};

class SupervisedBackend implements Pkcs11Backend {
  readonly kind = 'pkcs11';
  readonly #hosts: readonly [ModuleHostSupervisor, ...ModuleHostSupervisor[]];
  readonly #known = new KnownKeys();
  readonly #verification = new VerificationThread();
  readonly #timing: typeof DEFAULT_TIMING;
  readonly #rsaModulusBits: RsaModulusBits;
  readonly #logger: NonNullable<Pkcs11BackendOptions['logger']>;
  #generating: Promise<unknown> = Promise.resolve();
  #listing: Promise<readonly HardwareKey[]> | undefined;
  /** Signatures under way. */
  #signing = 0;
  #closed = false;

  constructor(options: Pkcs11BackendOptions, entry: URL) {
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#rsaModulusBits = options.rsaModulusBits ?? DEFAULT_RSA_MODULUS_BITS;
    this.#logger = options.logger ?? silentLogger;
    const guard = new PinGuard(options.pinFailures, options.pinHashKey);
    const supervise = (after?: Promise<void>): ModuleHostSupervisor =>
      new ModuleHostSupervisor({
        process: {
          entry,
          ...(options.softhsm2Conf === undefined ? {} : { softhsm2Conf: options.softhsm2Conf }),
          ...(options.runAs === undefined ? {} : { runAs: options.runAs }),
        },
        timing: this.#timing,
        logger: this.#logger,
        connect: tokenConnector(options, guard, this.#timing),
        ...(after === undefined ? {} : { after }),
      });
    const first = supervise();
    const others = Array.from({ length: (options.processes ?? 1) - 1 }, () => supervise(first.firstReady));
    this.#hosts = [first, ...others];
  }

  describe(): Promise<BackendDescription> {
    return Promise.resolve(describeToken(this.#host().status));
  }

  moduleHostPids(): readonly number[] {
    return this.#hosts.flatMap((host) => host.pid ?? []);
  }

  async sign(keyId: string, input: SignInput, options: SignOptions = {}): Promise<Uint8Array> {
    this.#assertOpen();
    const { signal } = options;
    refuseAborted(signal);
    const known = this.#known.get(keyId) ?? (await this.#learn(keyId));
    const host = this.#host();
    const { verifying } = known;
    const prepared = verifying.prepare(input);
    this.#signing += 1;
    try {
      const fromModule = await host.request(OPERATION.sign, [known.signPrefix, prepared.forMechanism], {
        timeoutMs: this.#timing.callTimeoutMs,
        repeatable: true,
        decode: same,
        ...(signal === undefined ? {} : { signal }),
      });
      return this.#signing > 1
        ? await verifying.releaseBeside(prepared, fromModule, this.#verification)
        : verifying.release(prepared, fromModule);
    } finally {
      this.#signing -= 1;
    }
  }

  async find(keyId: string): Promise<HardwareKey | undefined> {
    this.#assertOpen();
    const { key } = await this.#host().request(OPERATION.find, [keyIdToOctets(keyId)], {
      timeoutMs: this.#timing.callTimeoutMs,
      repeatable: true,
      decode: (body) => decodeMessage(findAnswer, body),
    });
    if (key === undefined) return undefined;
    if (key.keyId !== keyId)
      throw new KeydError('internal', 'The module host found another key than was asked for');
    return this.#known.pin(key).key;
  }

  async list(): Promise<readonly HardwareKey[]> {
    this.#assertOpen();
    this.#listing ??= this.#list().finally(() => {
      this.#listing = undefined;
    });
    return await this.#listing;
  }

  async generate(request: GenerateRequest): Promise<HardwareKey> {
    this.#assertOpen();
    keyIdToOctets(request.keyId);
    // Key generation occupies a token for seconds: one at a time (S20).
    const result = this.#generating.then(() => this.#generate(request));
    this.#generating = result.catch(() => undefined);
    return await result;
  }

  async readProtection(keyId: string): Promise<KeyProtection> {
    this.#assertOpen();
    const { attributes } = await this.#host().request(OPERATION.protection, [keyIdToOctets(keyId)], {
      timeoutMs: this.#timing.callTimeoutMs,
      repeatable: true,
      decode: (body) => decodeMessage(protectionAnswer, body),
    });
    return judgeProtection(attributes);
  }

  async destroy(keyId: string): Promise<Erasure> {
    this.#assertOpen();
    await this.#host().request(OPERATION.destroy, [keyIdToOctets(keyId)], {
      timeoutMs: this.#timing.callTimeoutMs,
      repeatable: true,
      decode: nothing,
    });
    this.#known.forget(keyId);
    return ERASURE;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#hosts.map((host) => host.close()));
    this.#verification.close();
    this.#known.forgetAll();
  }

  /** The ready host with the least to do; if none is ready, the first, which says why. */
  #host(): ModuleHostSupervisor {
    const [first] = this.#hosts;
    if (this.#hosts.length === 1) return first;
    let best: ModuleHostSupervisor | undefined;
    for (const host of this.#hosts) {
      if (host.status.state !== 'ready') continue;
      if (best === undefined || host.outstanding < best.outstanding) best = host;
    }
    return best ?? first;
  }

  async #learn(keyId: string): Promise<ReturnType<KnownKeys['pin']>> {
    const key = await this.find(keyId);
    const known = key === undefined ? undefined : this.#known.get(key.keyId);
    if (known !== undefined) return known;
    throw new KeydError('key_not_found', `The token does not hold the key ${keyId}`);
  }

  async #generate(request: GenerateRequest): Promise<HardwareKey> {
    const host = this.#host();
    // Generating is not repeated after a fault, so a stale session is found out before.
    await host.request(OPERATION.probe, [], {
      timeoutMs: this.#timing.callTimeoutMs,
      repeatable: true,
      decode: nothing,
    });
    const { status } = host;
    if (status.state === 'ready' && !status.token.algorithms.includes(request.algorithm)) {
      throw new KeydError('unsupported_algorithm', `The token can not make ${request.algorithm} keys`);
    }
    const { keyId, purpose, algorithm } = request;
    const command = { keyId, purpose, algorithm, rsaModulusBits: this.#rsaModulusBits };
    const { key, attributes } = await host.request(OPERATION.generate, [encodeMessage(command)], {
      timeoutMs: this.#timing.slowCallTimeoutMs,
      repeatable: false,
      decode: (body) => decodeMessage(generatedKey, body),
    });
    // The module host has judged this too, but it is the part that is not trusted.
    const asked = key.keyId === keyId && key.purpose === purpose && key.algorithm === algorithm;
    if (!asked || (key.publicJwk.kty === 'RSA' && rsaBits(key.publicJwk.n) !== this.#rsaModulusBits)) {
      await this.destroy(keyId);
      throw new KeydError('internal', 'The token made another key than it was asked for; it was destroyed');
    }
    if (judgeProtection(attributes).exportable) {
      await this.destroy(keyId);
      throw new KeydError('key_exportable', 'The token made a key that can leave it; it was destroyed');
    }
    return this.#known.pin(key).key;
  }

  async #list(): Promise<readonly HardwareKey[]> {
    const host = this.#host();
    const keys: HardwareKey[] = [];
    const held = new Set<string>();
    for (let offset: number | undefined = 0; offset !== undefined;) {
      const page: ListPage = await host.request(OPERATION.list, [encodeMessage({ offset })], {
        timeoutMs: this.#timing.slowCallTimeoutMs,
        // A page of a listing that the token forgot is refused, not repeated.
        repeatable: offset === 0,
        decode: (body) => decodeMessage(listPage, body),
      });
      keys.push(...page.keys);
      for (const keyId of page.held) held.add(keyId);
      if (page.unreadable > 0)
        this.#logger.warn({ unreadable: page.unreadable }, 'key objects can not be read');
      if (page.next !== undefined && page.next <= offset) {
        throw new KeydError('internal', 'The module host’s listing does not advance');
      }
      offset = page.next;
    }
    const listed = new Map<string, HardwareKey>();
    for (const key of keys) {
      if (!held.has(key.keyId)) continue;
      if (this.#known.agrees(key)) listed.set(key.keyId, this.#known.pin(key).key);
      // One bad object does not hide the good ones.
      else this.#logger.warn({ keyId: key.keyId }, 'the token shows another key under a known id');
    }
    return [...listed.values()];
  }

  #assertOpen(): void {
    if (this.#closed) throw new KeydError('shutting_down', 'The key backend is closed');
  }
}

function same(body: Buffer): Buffer {
  return body;
}

function nothing(body: Buffer): void {
  if (body.length > 0) throw new KeydError('malformed_structure', 'A module host reply has trailing octets');
}

function rsaBits(modulus: string): number {
  return decodeBase64url(modulus).length * 8;
}
