/**
 * Keeps the links of living delegations fresh: they end within the hour, and at once with a key that was
 * replaced or a grant that changed. The parent's key signs, on the terms that the delegation was made on.
 */
import type { HeldChain } from './agent-chains.ts';
import type { Logger } from '../base/logger.ts';
import { narrowingFault } from '../delegation/narrowing.ts';
import { MAX_LINK_SECONDS, parseDelegationToken } from '../delegation/claims.ts';
import { parseAgentName } from '../wire/agent-name.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { Agent, AgentKey, AgentStore } from './agent.ts';
import type { AgentChains } from './agent-chains.ts';
import type { Delegation, DelegationStore, DelegationTerms, StatusReference } from './delegation.ts';
import type { DraftContext } from './draft.ts';
import { draftLink } from './link.ts';
import type { LinkSigner } from './link-signer.ts';

export interface LinkRenewerOptions {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly delegations: DelegationStore;
  readonly chains: AgentChains;
  readonly signer: LinkSigner;
  readonly draftContext: (agent: Agent) => DraftContext;
  readonly log: Logger;
  readonly now: () => number;
}

const PASS_INTERVAL_MS = 5_000;
/** A link that would end no later than this after the present one is not worth a signature. */
const WORTH_SECONDS = 60;

export class LinkRenewer {
  readonly #options: LinkRenewerOptions;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #pass: Promise<void> = Promise.resolve();
  /** A pass is to come that has not begun. */
  #isWoken = false;

  constructor(options: LinkRenewerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.wake();
    }, PASS_INTERVAL_MS);
    this.#timer.unref();
    this.wake();
  }

  /** Something changed that links hang on. */
  wake(): void {
    if (this.#stopping.signal.aborted || this.#isWoken) return;
    this.#isWoken = true;
    this.#pass = this.#pass.then(async () => {
      this.#isWoken = false;
      await this.renewDue();
    });
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopping.abort(new KeydError('shutting_down', 'the daemon is stopping'));
    await this.#pass;
  }

  /** One pass over all delegations, parents before their children. */
  async renewDue(): Promise<void> {
    const { agents, delegations, log } = this.#options;
    const byDepth = [...delegations.list()].sort((left, right) => left.chain.length - right.chain.length);
    for (const { agentId } of byDepth) {
      if (this.#stopping.signal.aborted) return;
      // Read again: time passes while others are signed.
      const delegation = delegations.find(agentId);
      const agent = agents.find(agentId);
      if (delegation === undefined || agent === undefined) continue;
      try {
        if (!this.#isDue(agent, delegation)) continue;
        const chain = await this.link(delegation, agent, delegation.status);
        // What was rotated or has ended meanwhile has its own link, or needs none.
        if (agents.find(agentId)?.kid === agent.kid) delegations.renew(agentId, chain);
      } catch (thrown) {
        const error = asKeydError(thrown);
        // What is wrong above shows there, and is said to whoever uses the sub-agent.
        const level = error.status === 403 ? 'debug' : 'warn';
        log[level]({ agentId, error }, 'a link could not be renewed; it is tried again');
      }
    }
  }

  /**
   * The chain for this key of a sub-agent, with a new link by its parent.
   * @throws KeydError `delegation_*`, `no_grant`, and those of the parent's backend
   */
  async link(
    delegation: Delegation,
    { name, publicJwk }: Pick<Agent, 'name' | 'publicJwk'>,
    status: StatusReference | undefined,
  ): Promise<readonly string[]> {
    const { draftContext, signer } = this.#options;
    const parent = this.#parentOf(delegation);
    const held = this.#held(parent);
    const { terms, endsAtMs } = delegation;
    const draft = draftLink(draftContext(parent), {
      parent: held.chain.leaf,
      name,
      segment: parseAgentName(name).segments.at(-1) ?? name,
      publicJwk,
      terms,
      endsAtMs,
      status,
    });
    const link = await signer.sign(draft, this.#stopping.signal);
    const fault = narrowingFault(held.chain.leaf.claims, parseDelegationToken(link, false).claims);
    if (fault !== undefined) throw new KeydError('delegation_refused', fault);
    return [...held.tokens, link];
  }

  /** A new key for a sub-agent, with its link: both are in force at once. */
  async rekey(agent: Agent, key: AgentKey, status: StatusReference | undefined): Promise<void> {
    const { delegations } = this.#options;
    const delegation = delegations.find(agent.id);
    if (delegation === undefined)
      throw new KeydError('delegation_revoked', `${agent.name} has no delegation`);
    const chain = await this.link(delegation, { name: agent.name, publicJwk: key.publicJwk }, status);
    delegations.rekey(agent.id, key, chain, status);
  }

  /** Other terms for a living delegation, with the link that says them. @throws KeydError as `link` does */
  async reterm(agent: Agent, terms: DelegationTerms): Promise<void> {
    const { delegations } = this.#options;
    const delegation = delegations.find(agent.id);
    if (delegation === undefined)
      throw new KeydError('delegation_revoked', `${agent.name} has no delegation`);
    const chain = await this.link({ ...delegation, terms }, agent, delegation.status);
    delegations.renew(agent.id, chain, terms);
  }

  #isDue(agent: Agent, delegation: Delegation): boolean {
    const { chains, now } = this.#options;
    if (delegation.endsAtMs <= now()) return false;
    const above = chains.of(this.#parentOf(delegation));
    if (above === undefined) return false;
    let held: HeldChain | undefined;
    try {
      held = chains.of(agent);
    } catch (thrown) {
      if (asKeydError(thrown).code === 'delegation_expired') return false;
      return true;
    }
    if (held === undefined) return false;
    const { tokens, leaf, expiresAtSeconds } = held.chain;
    const isUnderOldKey = above.chain.tokens.some(
      ({ claims }, index) => claims.cnf.jkt !== tokens[index]?.claims.cnf.jkt,
    );
    if (isUnderOldKey) return true;
    const nowSeconds = Math.floor(now() / 1000);
    const life = leaf.claims.exp - leaf.claims.iat;
    if (expiresAtSeconds - nowSeconds > life / 3) return false;
    const possible = Math.min(
      nowSeconds + MAX_LINK_SECONDS,
      Math.floor(delegation.endsAtMs / 1000),
      above.chain.expiresAtSeconds,
    );
    return (
      possible > expiresAtSeconds + WORTH_SECONDS || (possible > expiresAtSeconds && life < WORTH_SECONDS)
    );
  }

  #parentOf({ parentId }: Delegation): Agent {
    const parent = this.#options.agents.find(parentId);
    if (parent === undefined)
      throw new KeydError('delegation_revoked', 'the agent that delegated was retired');
    return parent;
  }

  #held(parent: Agent): HeldChain {
    const held = this.#options.chains.of(parent);
    if (held === undefined) throw new KeydError('no_grant', `${parent.name} has no grant of its principal`);
    return held;
  }
}
