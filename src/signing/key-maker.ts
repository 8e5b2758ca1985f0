import { randomUUID } from 'node:crypto';
import type { BackendKind } from '../backend/backend.ts';
import type { FairQueue, FairQueueRequest } from '../base/fair-queue.ts';
import type { Logger } from '../base/logger.ts';
import { callerShare, type Caller } from '../caller/caller.ts';
import type { Algorithm } from '../wire/algorithms.ts';
import { jwkThumbprint } from '../wire/jwk.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { AgentKey } from './agent.ts';
import type { Hardware } from './hardware.ts';

export interface KeyMakerOptions {
  readonly hardware: Hardware;
  /** Of concurrency one: key generation is slow, and rated apart from signing (S20). */
  readonly queue: FairQueue;
  readonly deadlineMs: number;
  readonly log: Logger;
}

export interface WantedKey {
  readonly kind: BackendKind;
  readonly algorithm: Algorithm;
  readonly ephemeral?: boolean;
}

/** Added to the deadline for each further key of a batch: what a slow discrete TPM takes. */
const TIME_PER_KEY_MS = 1_000;

/** Makes agents' keys, one at a time. */
export class KeyMaker {
  readonly #options: KeyMakerOptions;

  constructor(options: KeyMakerOptions) {
    this.#options = options;
  }

  /**
   * Makes a key and hands it to `take`, which makes it somebody's. A key that is not taken, because `take`
   * throws or the deadline has passed, is destroyed before this rejects.
   * @throws KeydError `too_many_requests`, `deadline_exceeded`, `unsupported_algorithm`, those of the backend,
   *   and what `take` throws
   */
  async make(
    caller: Caller,
    kind: BackendKind,
    algorithm: Algorithm,
    take: (key: AgentKey) => void,
  ): Promise<void> {
    await this.makeAll(caller, [{ kind, algorithm }], ([key]) => {
      if (key !== undefined) take(key);
    });
  }

  /**
   * As `make`, for several keys of one caller in one turn: all are handed over, or none is left. Between two
   * of them the hardware is free for others.
   */
  async makeAll(
    caller: Caller,
    wanted: readonly WantedKey[],
    take: (keys: readonly AgentKey[]) => void,
  ): Promise<void> {
    for (const each of wanted) await this.#checkAlgorithm(each);
    const share = callerShare(caller);
    const timeoutMs = this.#options.deadlineMs + (wanted.length - 1) * TIME_PER_KEY_MS;
    await this.#options.queue.run({ share, timeoutMs }, async (signal) => {
      const made: AgentKey[] = [];
      try {
        for (const each of wanted) made.push(await this.#generate(each, { share, timeoutMs, signal }));
        // Whoever asked has been refused by now; nothing comes between this check and the taking.
        signal.throwIfAborted();
        take(made);
      } catch (thrown) {
        for (const [index, { keyId }] of made.entries()) {
          await this.discard(wanted[index]?.kind ?? 'tpm', keyId);
        }
        throw thrown;
      }
    });
  }

  /** Destroys a key that nobody has. */
  async discard(kind: BackendKind, keyId: string): Promise<void> {
    try {
      await this.#options.hardware.lane(kind).backend.destroy(keyId);
    } catch (thrown) {
      this.#options.log.error(
        { keyId, error: asKeydError(thrown) },
        'a key that nobody took could not be destroyed; no agent uses it',
      );
    }
  }

  async #checkAlgorithm({ kind, algorithm }: WantedKey): Promise<void> {
    const { backend } = this.#options.hardware.lane(kind);
    const { state, algorithms } = await backend.describe();
    if (state === 'ready' && !algorithms.includes(algorithm)) {
      throw new KeydError(
        'unsupported_algorithm',
        `this ${kind} makes ${algorithms.join(', ')}, not ${algorithm}`,
      );
    }
  }

  async #generate({ kind, algorithm, ephemeral }: WantedKey, request: FairQueueRequest): Promise<AgentKey> {
    const { backend, queue: lane } = this.#options.hardware.lane(kind);
    const keyId = randomUUID();
    return lane.run(request, async (signal) => {
      signal.throwIfAborted();
      try {
        const { publicJwk } = await backend.generate({
          keyId,
          purpose: 'agent',
          algorithm,
          ...(ephemeral === true ? { ephemeral } : {}),
        });
        signal.throwIfAborted();
        return { keyId, publicJwk, kid: jwkThumbprint(publicJwk), algorithm };
      } catch (thrown) {
        await this.discard(kind, keyId);
        throw thrown;
      }
    });
  }
}
