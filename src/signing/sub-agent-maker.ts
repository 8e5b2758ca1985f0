/** Makes sub-agents: names, keys, budgets and links, all of a call or none. */
import { randomUUID } from 'node:crypto';
import type { Logger } from '../base/logger.ts';
import type { Caller } from '../caller/caller.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { Agent, AgentKey, AgentStore } from './agent.ts';
import type { AgentChains, HeldChain } from './agent-chains.ts';
import {
  delegationAccount,
  rootAccount,
  type Allocations,
  type DelegationStore,
  type StatusIndices,
  type StatusReference,
  type SubAgent,
} from './delegation.ts';
import type { DelegationEnds } from './delegation-ends.ts';
import type { RequestedDelegation } from './delegation-terms.ts';
import type { KeyMaker, WantedKey } from './key-maker.ts';
import type { LinkRequest } from './link.ts';

export interface SubAgentMakerOptions {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly delegations: DelegationStore;
  readonly chains: AgentChains;
  readonly keys: KeyMaker;
  readonly ends: Pick<DelegationEnds, 'wake'>;
  /** Undefined where nothing can be spent on this host. */
  readonly allocations: Allocations | undefined;
  /** Undefined where nobody publishes for this host. */
  readonly status: StatusIndices | undefined;
  readonly log: Logger;
  readonly now: () => number;
}

/** One sub-agent to be made. */
export interface PlannedSubAgent {
  readonly name: string;
  readonly segment: string;
  readonly key: WantedKey;
  readonly requested: RequestedDelegation;
}

/** Has the parent's key sign a link; undefined where it may not do so yet. */
export type SignLink = (request: LinkRequest) => Promise<string | undefined>;

interface Preparing extends PlannedSubAgent {
  readonly id: string;
  readonly isEphemeral: boolean;
}

export class SubAgentMaker {
  readonly #options: SubAgentMakerOptions;

  constructor(options: SubAgentMakerOptions) {
    this.#options = options;
  }

  /**
   * Undefined where a link may not be signed yet; then, as after a fault, nothing is left of what was begun.
   * @throws KeydError `name_in_use`, `budget_exceeded`, `conflict`, those of the backends, and what `sign` throws
   */
  async make(
    caller: Caller,
    parent: Agent,
    held: HeldChain,
    planned: readonly PlannedSubAgent[],
    sign: SignLink,
  ): Promise<readonly SubAgent[] | undefined> {
    const { delegations, ends } = this.#options;
    const preparing = planned.map((each) => ({
      ...each,
      id: randomUUID(),
      isEphemeral: each.key.ephemeral === true,
    }));
    delegations.prepare(
      preparing
        .filter(({ isEphemeral }) => !isEphemeral)
        .map(({ id, name }) => ({ id, name, ownerUid: parent.ownerUid })),
      preparing.filter(({ requested }) => requested.budgets.length > 0).map(({ id }) => id),
    );
    const made = { done: false };
    try {
      const keys = await this.#makeKeys(caller, preparing);
      try {
        const subAgents = await this.#begin(parent, held, preparing, keys, sign);
        made.done = subAgents !== undefined;
        return subAgents;
      } finally {
        if (!made.done) await this.#discard(preparing, keys);
      }
    } finally {
      if (!made.done) {
        delegations.abandon(preparing.map(({ id }) => id));
        ends.wake();
      }
    }
  }

  async #makeKeys(caller: Caller, preparing: readonly Preparing[]): Promise<readonly AgentKey[]> {
    const taken: AgentKey[] = [];
    await this.#options.keys.makeAll(
      caller,
      preparing.map(({ key }) => key),
      (keys) => {
        taken.push(...keys);
      },
    );
    return taken;
  }

  async #begin(
    parent: Agent,
    held: HeldChain,
    preparing: readonly Preparing[],
    keys: readonly AgentKey[],
    sign: SignLink,
  ): Promise<readonly SubAgent[] | undefined> {
    const { delegations, now } = this.#options;
    await Promise.all(preparing.map((each) => this.#allocate(parent, held, each)));
    const statuses = await this.#statuses(preparing);
    const subAgents: SubAgent[] = [];
    for (const [index, { id, name, segment, requested, key, isEphemeral }] of preparing.entries()) {
      const { terms, budgets, endsAtMs } = requested;
      const own = keys[index];
      if (own === undefined) throw new KeydError('internal', 'a key is missing for a sub-agent');
      const status = statuses[index];
      const { leaf } = held.chain;
      const link = await sign({
        parent: leaf,
        name,
        segment,
        publicJwk: own.publicJwk,
        terms,
        endsAtMs,
        status,
      });
      if (link === undefined) return undefined;
      const chain = [...held.tokens, link];
      this.#options.chains.check(chain);
      const createdAtMs = now();
      const { ownerUid } = parent;
      subAgents.push({
        agent: {
          ...{ id, name, ownerUid, backend: key.kind, createdAtMs },
          ...own,
          ...(isEphemeral ? { ephemeral: true } : {}),
        },
        delegation: {
          ...{ agentId: id, parentId: parent.id, terms, createdAtMs, endsAtMs },
          ...{ ephemeral: isEphemeral, chain, status, allocated: budgets.length > 0 },
        },
      });
    }
    this.#checkParent(parent);
    delegations.add(subAgents);
    return subAgents;
  }

  /** In memory at once, so that of two that ask for the same balance one is refused here. */
  async #allocate(parent: Agent, { chain }: HeldChain, { id, requested }: Preparing): Promise<void> {
    const { allocations } = this.#options;
    const { budgets } = requested;
    if (budgets.length === 0) return;
    if (allocations === undefined) {
      throw new KeydError('ledger_unavailable', 'this host keeps no ledger, so that nothing can be spent');
    }
    const child = delegationAccount(id);
    const above =
      chain.leaf.claims.del_depth === 0 ? rootAccount(chain.root.claims.jti) : delegationAccount(parent.id);
    const given = (isOwn: boolean): ReadonlyMap<string, bigint> =>
      new Map(budgets.filter(({ own }) => own === isOwn).map(({ unit, amount }) => [unit, amount] as const));
    const own = given(true);
    await Promise.all([
      own.size === 0 ? undefined : allocations.openGrant(child, own),
      allocations.allocate(above, child, given(false)),
    ]);
  }

  /** Without one, a link can not be revoked for others, and ends within the hour all the same (S18). */
  async #statuses(preparing: readonly Preparing[]): Promise<readonly (StatusReference | undefined)[]> {
    const { status, log } = this.#options;
    const lasting = preparing.filter(({ isEphemeral }) => !isEphemeral);
    if (status === undefined || lasting.length === 0) return [];
    try {
      const references = [...(await status.allocate(lasting.length))];
      return preparing.map(({ isEphemeral }) => (isEphemeral ? undefined : references.shift()));
    } catch (thrown) {
      log.warn({ error: asKeydError(thrown) }, 'links are made that the issuer will not publish the end of');
      return [];
    }
  }

  /** What ended or changed above meanwhile ends this as well. */
  #checkParent(parent: Agent): void {
    const now = this.#options.agents.find(parent.id);
    if (now === undefined) throw new KeydError('key_retired', 'the agent was retired while it delegated');
    if (now.kid !== parent.kid) {
      throw new KeydError('conflict', 'the key was rotated while the agent delegated; ask again');
    }
    if (this.#options.chains.of(now) === undefined) {
      throw new KeydError('no_grant', `${parent.name} has no grant of its principal any more`);
    }
  }

  async #discard(preparing: readonly Preparing[], keys: readonly AgentKey[]): Promise<void> {
    for (const [index, { keyId }] of keys.entries()) {
      await this.#options.keys.discard(preparing[index]?.key.kind ?? 'tpm', keyId);
    }
  }
}
