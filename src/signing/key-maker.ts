import { randomUUID } from 'node:crypto';
import type { BackendKind, KeyBackend } from '../backend/backend.ts';
import type { FairQueue } from '../base/fair-queue.ts';
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
    const { backend, queue: lane } = this.#options.hardware.lane(kind);
    const { state, algorithms } = await backend.describe();
    if (state === 'ready' && !algorithms.includes(algorithm)) {
      throw new KeydError(
        'unsupported_algorithm',
        `this ${kind} makes ${algorithms.join(', ')}, not ${algorithm}`,
      );
    }
    const request = { share: callerShare(caller), timeoutMs: this.#options.deadlineMs };
    await this.#options.queue.run(request, (signal) =>
      lane.run({ ...request, signal }, (laneSignal) => this.#generate(backend, algorithm, take, laneSignal)),
    );
  }

  async #generate(
    backend: KeyBackend,
    algorithm: Algorithm,
    take: (key: AgentKey) => void,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    const keyId = randomUUID();
    try {
      const { publicJwk } = await backend.generate({ keyId, purpose: 'agent', algorithm });
      // Whoever asked has been refused by now; nothing comes between this check and the taking.
      signal.throwIfAborted();
      take({ keyId, publicJwk, kid: jwkThumbprint(publicJwk), algorithm });
    } catch (thrown) {
      await this.#destroy(backend, keyId);
      throw thrown;
    }
  }

  async #destroy(backend: KeyBackend, keyId: string): Promise<void> {
    try {
      await backend.destroy(keyId);
    } catch (thrown) {
      this.#options.log.error(
        { keyId, error: asKeydError(thrown) },
        'a key that nobody took could not be destroyed; no agent uses it',
      );
    }
  }
}
