import type { KeyBackend } from '../backend/backend.ts';
import type { Authorizer, Grant } from '../policy/authorize.ts';
import { jwkThumbprint } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import type { AgentStore } from './agent.ts';
import type { Hardware } from './hardware.ts';

export interface SignerOptions {
  readonly authorizer: Authorizer;
  readonly agents: Pick<AgentStore, 'find'>;
  readonly hardware: Hardware;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const MAX_COMPARED = 100_000;

/** Where octets meet a key. It takes a grant and nothing else, so that no request can get past policy (S7). */
export class Signer {
  readonly #options: SignerOptions;
  /** Keys whose public half in hardware was compared with the agent's since the start. */
  readonly #compared = new Set<string>();

  constructor(options: SignerOptions) {
    this.#options = options;
  }

  /**
   * Signs what the grant holds when it is its caller's turn; JOSE form. The grant is redeemed at the last
   * moment: rules that changed meanwhile, a passed deadline or a caller that has gone end it unsigned.
   * @throws KeydError `too_many_requests`, `deadline_exceeded`, `caller_gone`, `policy_denied`, `key_retired`,
   *   `conflict`, `key_not_found`, and those of the backend
   */
  async sign(grant: Grant, signal: AbortSignal): Promise<Uint8Array> {
    const { authorizer, hardware, now } = this.#options;
    const { backend, queue } = hardware.lane(grant.backend);
    const timeoutMs = Math.max(0, grant.notAfterMs - now());
    return queue.run({ share: grant.share, timeoutMs, signal }, async (laneSignal) => {
      const { keyId, kid, agentId, octets } = authorizer.redeem(grant);
      this.#checkKey(agentId, keyId);
      await this.#checkHardware(backend, keyId, kid);
      return backend.sign(keyId, octets, { signal: laneSignal });
    });
  }

  /** A token's object is found by a label that others can write; what counts is the key itself. */
  async #checkHardware(backend: KeyBackend, keyId: string, kid: string): Promise<void> {
    if (this.#compared.has(keyId)) return;
    const key = await backend.find(keyId);
    if (key?.purpose !== 'agent' || jwkThumbprint(key.publicJwk) !== kid) {
      throw new KeydError(
        'key_not_found',
        `the hardware holds ${key === undefined ? 'no key' : 'another key'} for this agent; nothing was signed`,
      );
    }
    if (this.#compared.size >= MAX_COMPARED) this.#compared.clear();
    this.#compared.add(keyId);
  }

  #checkKey(agentId: string, keyId: string): void {
    const agent = this.#options.agents.find(agentId);
    if (agent === undefined)
      throw new KeydError('key_retired', 'the agent was retired while the request waited');
    if (agent.keyId !== keyId) {
      throw new KeydError('conflict', 'the key was rotated while the request waited; ask again');
    }
  }
}
