/**
 * How delegations end: on this host at once and durably, and then, as hardware, ledger and issuer allow, with
 * the key destroyed, the account closed and the end published.
 */
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { Erasure } from '../backend/backend.ts';
import type { Logger } from '../base/logger.ts';
import type { Agent, AgentStore } from './agent.ts';
import type { AgentChains } from './agent-chains.ts';
import {
  delegationAccount,
  type Allocations,
  type DelegationEnd,
  type DelegationStore,
  type DoomedKey,
  type StatusIndices,
  type StatusReference,
} from './delegation.ts';
import type { Hardware } from './hardware.ts';

export interface DelegationEndsOptions {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly delegations: DelegationStore;
  readonly chains: Pick<AgentChains, 'forget'>;
  readonly hardware: Hardware;
  /** Undefined where nothing can be spent on this host. */
  readonly allocations: Allocations | undefined;
  /** Undefined where nobody publishes for this host. */
  readonly status: StatusIndices | undefined;
  /** Told of every agent that has ended, after it is durable. */
  readonly retired: (agent: Agent) => void;
  readonly log: Logger;
  readonly now: () => number;
}

/** The longest life of what an agent signs (S4): until then its last signature may still be spent. */
const SIGNATURE_LIFE_MS = 300_000;
/** How often what failed is tried again, and ended delegations are looked for. */
const SWEEP_INTERVAL_MS = 30_000;
/** Revocations in one exchange with the issuer. */
const PUBLISHED_AT_ONCE = 500;

export class DelegationEnds {
  readonly #options: DelegationEndsOptions;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | undefined;
  #again = false;

  constructor(options: DelegationEndsOptions) {
    this.#options = options;
  }

  /** Begins with what an earlier process left. */
  start(): void {
    this.#timer = setInterval(() => {
      this.wake();
    }, SWEEP_INTERVAL_MS);
    this.#timer.unref();
    this.wake();
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  /** Ends everything below an agent. When this returns, none of it signs anything more, crashes included. */
  endBelow(agentId: string): void {
    this.#end(this.#options.delegations.descendantsOf(agentId).map((each) => each.agentId));
  }

  /** What was granted to a key that is retired or no longer trusted is revoked for others too, crashes included. */
  revokeGrant({ kid }: Pick<Agent, 'kid'>, status: StatusReference): void {
    this.#options.delegations.revokeLater(kid, status);
    this.wake();
  }

  /**
   * Ends a sub-agent and everything below it, and resolves when its own key is destroyed.
   * @throws KeydError those of its backend: the sub-agent has ended all the same, and its key is tried again
   */
  async end(agent: Agent): Promise<Erasure> {
    const below = this.#options.delegations.descendantsOf(agent.id).map((each) => each.agentId);
    this.#end([agent.id, ...below]);
    return this.#destroy(agent);
  }

  /** Does all that is left to do, once. */
  async sweep(): Promise<void> {
    const { delegations, now } = this.#options;
    const over = delegations.list().filter(({ endsAtMs }) => endsAtMs <= now());
    for (const { agentId } of over) {
      if (delegations.find(agentId) === undefined) continue;
      this.endBelow(agentId);
      this.#end([agentId]);
    }
    for (const key of delegations.doomedKeys()) {
      await this.#attempt('a key of an ended sub-agent could not be destroyed', key, () =>
        this.#destroy(key),
      );
    }
    for (const end of delegations.ends()) {
      if (!end.closed) {
        await this.#attempt('the account of an ended sub-agent could not be closed', end, () =>
          this.#close(end.agentId, end.releaseAtMs),
        );
      }
    }
    const unpublished = delegations.ends().filter(({ status }) => status !== undefined);
    for (let from = 0; from < unpublished.length; from += PUBLISHED_AT_ONCE) {
      const some = unpublished.slice(from, from + PUBLISHED_AT_ONCE);
      await this.#attempt('ends of delegations could not be published', { count: some.length }, () =>
        this.#publish(some),
      );
    }
  }

  #end(agentIds: readonly string[]): void {
    if (agentIds.length === 0) return;
    const { agents, chains, delegations, retired, log, now } = this.#options;
    const ended = agentIds.flatMap((id) => agents.find(id) ?? []);
    delegations.end(agentIds, now() + SIGNATURE_LIFE_MS);
    for (const agent of ended) {
      chains.forget(agent.id);
      try {
        retired(agent);
      } catch (thrown) {
        log.error({ agentId: agent.id, error: asKeydError(thrown) }, 'a hook failed');
      }
    }
    this.wake();
  }

  async #destroy({ keyId, backend }: DoomedKey): Promise<Erasure> {
    const erasure = await this.#options.hardware.lane(backend).backend.destroy(keyId);
    this.#options.delegations.destroyed(keyId);
    return erasure;
  }

  async #close(agentId: string, releaseAtMs: number): Promise<void> {
    const { allocations, delegations } = this.#options;
    if (allocations === undefined) {
      throw new KeydError('ledger_unavailable', 'this host keeps no ledger any more');
    }
    await allocations.close(delegationAccount(agentId), releaseAtMs);
    delegations.closed(agentId);
  }

  async #publish(ends: readonly DelegationEnd[]): Promise<void> {
    const { delegations, status: indices } = this.#options;
    if (indices === undefined) {
      throw new KeydError('issuer_unavailable', 'no issuer publishes for this host any more');
    }
    await indices.revoke(ends.flatMap(({ status }) => status ?? []));
    for (const { agentId } of ends) delegations.published(agentId);
  }

  async #attempt(failure: string, what: object, act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (thrown) {
      this.#options.log.warn({ ...what, error: asKeydError(thrown) }, `${failure}; it is tried again`);
    }
  }

  /** Something is left to do. */
  wake(): void {
    if (this.#sweeping !== undefined) {
      this.#again = true;
      return;
    }
    this.#sweeping = this.#sweepAll().finally(() => {
      this.#sweeping = undefined;
    });
  }

  async #sweepAll(): Promise<void> {
    do {
      try {
        await this.sweep();
      } catch (thrown) {
        this.#options.log.error({ error: asKeydError(thrown) }, 'ended delegations could not be cleared');
      }
    } while (this.#wasWoken());
  }

  #wasWoken(): boolean {
    const again = this.#again;
    this.#again = false;
    return again;
  }
}
