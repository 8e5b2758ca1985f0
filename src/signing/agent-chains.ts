/** The chain of tokens that says what an agent may do, verified once and judged anew at every use. */
import { verifyChain, type Chain, type ChainRoot, type ChainRules } from '../delegation/chain.ts';
import type { DelegationToken } from '../delegation/claims.ts';
import { canonicalJson } from '../wire/jcs.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { Agent, AgentStore } from './agent.ts';
import type { Delegation, DelegationStore } from './delegation.ts';
import type { PresentedChain } from './draft.ts';

export interface AgentChainsOptions {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly delegations: Pick<DelegationStore, 'find'>;
  /** DT₀ that the issuer gave for the root agent's present key, compact; undefined where there is none. */
  readonly grant: (agent: Agent) => string | undefined;
  /** Whose grants count; undefined until the host is enrolled. */
  readonly root: () => ChainRoot | undefined;
  /** Told of every DT₀ that is seen for the first time: the ledger keeps its ceilings. */
  readonly granted?: (grant: Chain['root']) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What an agent holds: the chain, and until when there will be links. */
export interface HeldChain {
  readonly chain: Chain;
  /** Compact tokens, DT₀ first. */
  readonly tokens: readonly string[];
  /** Agents of the chain, the root agent first, the agent itself last. */
  readonly holders: readonly Agent[];
  /** When the delegation ends for good; of a root agent, when DT₀ does. Milliseconds since the epoch. */
  readonly endsAtMs: number;
}

interface Verified {
  readonly tokens: readonly string[];
  readonly chain: Chain;
}

/** Clocks of issuer and host may differ by this much. */
const CLOCK_SKEW_SECONDS = 60;
/** Links by a routinely replaced key end within ten minutes (S18). */
const REPLACED_KEY_MS = 10 * 60 * 1000;

export class AgentChains {
  readonly #options: AgentChainsOptions;
  /** By agent id. */
  readonly #verified = new Map<string, Verified>();
  /** Replaced keys by thumbprint, and when what they signed ends. */
  readonly #replaced = new Map<string, number>();

  constructor(options: AgentChainsOptions) {
    this.#options = options;
  }

  /**
   * The chain of the agent's present key; undefined where nobody granted it anything. Costs a look at each
   * agent above it, so that what ends there ends here at once.
   * @throws KeydError `delegation_revoked`, `delegation_expired`, `credential_unavailable` while a link is
   *   being renewed
   */
  of(agent: Agent): HeldChain | undefined {
    const delegation = this.#options.delegations.find(agent.id);
    return delegation === undefined ? this.#ofRoot(agent) : this.#ofSubAgent(agent, delegation);
  }

  /** As `of`, as far as it is presented to others. */
  presented(agent: Agent): PresentedChain | undefined {
    const held = this.of(agent);
    return held && { tokens: held.tokens, expiresAtMs: held.chain.expiresAtSeconds * 1000 };
  }

  /** @throws KeydError `delegation_refused` for a chain that no verifier would take */
  check(tokens: readonly string[]): void {
    const root = this.#options.root();
    if (root === undefined) throw new KeydError('no_grant', 'no grant key is pinned on this host');
    try {
      verifyChain(tokens, this.#rules(root));
    } catch (thrown) {
      throw new KeydError('delegation_refused', asKeydError(thrown).message, { cause: thrown });
    }
  }

  /** The agent's key was replaced: links that the old one signed hold a little longer, or no more. */
  replaced(kid: string, reason: 'routine' | 'compromise'): void {
    const now = this.#options.now();
    for (const [old, endMs] of this.#replaced) if (endMs <= now) this.#replaced.delete(old);
    if (reason === 'routine') this.#replaced.set(kid, now + REPLACED_KEY_MS);
    else this.#replaced.delete(kid);
  }

  /** Nothing is remembered of an agent that has ended. */
  forget(agentId: string): void {
    this.#verified.delete(agentId);
  }

  #ofRoot(agent: Agent): HeldChain | undefined {
    // A name with a "+" and no delegation is what is left of one.
    if (agent.name.includes('+')) return undefined;
    const compact = this.#options.grant(agent);
    if (compact === undefined) return undefined;
    const chain = this.#verify(agent, [compact]);
    if (chain === undefined) return undefined;
    if (chain.leaf.claims.cnf.jkt !== agent.kid) return undefined;
    const endsAtMs = chain.expiresAtSeconds * 1000;
    if (endsAtMs <= this.#options.now()) {
      throw new KeydError('delegation_expired', `the grant of ${agent.name} has ended`);
    }
    return { chain, tokens: [compact], holders: [agent], endsAtMs };
  }

  #ofSubAgent(agent: Agent, delegation: Delegation): HeldChain | undefined {
    const { chain: tokens, endsAtMs } = delegation;
    const now = this.#options.now();
    if (endsAtMs <= now) {
      throw new KeydError('delegation_expired', `the delegation of ${agent.name} has ended`);
    }
    const holders = this.#holders(agent, delegation);
    const chain = this.#verify(agent, tokens);
    if (chain === undefined) return undefined;
    if (chain.expiresAtSeconds * 1000 <= now) throw renewing(agent);
    this.#checkHolders(agent, holders, chain);
    this.#checkGrant(holders[0] ?? agent, chain);
    return { chain, tokens, holders, endsAtMs };
  }

  /** @throws KeydError `delegation_revoked`, `delegation_expired` */
  #holders(agent: Agent, delegation: Delegation): readonly Agent[] {
    const { agents, delegations, now } = this.#options;
    const holders = [agent];
    for (let above: Delegation | undefined = delegation; above !== undefined;) {
      const parent = agents.find(above.parentId);
      if (parent === undefined) throw revoked(agent, 'an agent above it was retired');
      holders.unshift(parent);
      above = delegations.find(parent.id);
      if (above !== undefined && above.endsAtMs <= now()) {
        throw new KeydError('delegation_expired', `the delegation of ${parent.name} has ended`);
      }
    }
    return holders;
  }

  #checkHolders(agent: Agent, holders: readonly Agent[], { tokens }: Chain): void {
    for (const [index, holder] of holders.entries()) {
      const confirmed = tokens[index]?.claims.cnf.jkt;
      if (confirmed === holder.kid) continue;
      if (index === holders.length - 1) throw renewing(agent);
      const endMs = confirmed === undefined ? undefined : this.#replaced.get(confirmed);
      if (endMs === undefined || endMs <= this.#options.now()) {
        throw revoked(agent, `the key of ${holder.name} was replaced, and its link has not been renewed yet`);
      }
    }
  }

  /** A grant that says something else than the one at the head of the chain counts at once. */
  #checkGrant(root: Agent, { root: head }: Chain): void {
    const compact = this.#options.grant(root);
    if (compact === undefined || compact === head.compact) return;
    const present = this.#verify(root, [compact]);
    if (present === undefined || !saysTheSame(present.root, head)) {
      throw revoked(root, 'the grant of its principal changed, and its links have not been renewed yet');
    }
  }

  #rules(root: ChainRoot): ChainRules {
    const nowSeconds = Math.floor(this.#options.now() / 1000);
    return { ...root, nowSeconds, clockSkewSeconds: CLOCK_SKEW_SECONDS };
  }

  /** @throws KeydError `delegation_revoked` for a chain that does not verify */
  #verify(agent: Agent, tokens: readonly string[]): Chain | undefined {
    const known = this.#verified.get(agent.id);
    if (known !== undefined && isSameChain(known.tokens, tokens)) return known.chain;
    const root = this.#options.root();
    if (root === undefined) return undefined;
    try {
      const chain = verifyChain(tokens, this.#rules(root));
      this.#verified.set(agent.id, { tokens, chain });
      if (tokens.length === 1) this.#options.granted?.(chain.root);
      return chain;
    } catch (thrown) {
      const { message } = asKeydError(thrown);
      throw new KeydError('delegation_revoked', `the chain of ${agent.name} does not verify: ${message}`, {
        cause: thrown,
      });
    }
  }
}

function isSameChain(known: readonly string[], given: readonly string[]): boolean {
  return known.length === given.length && known.every((token, index) => token === given[index]);
}

/** Whether two grants differ in nothing but when and for which key they were made. */
function saysTheSame(left: DelegationToken, right: DelegationToken): boolean {
  return lasting(left) === lasting(right);
}

function lasting({ claims }: DelegationToken): string {
  const changing = new Set(['iat', 'exp', 'cnf', 'status']);
  return canonicalJson(Object.fromEntries(Object.entries(claims).filter(([name]) => !changing.has(name))));
}

function renewing({ name }: Agent): KeydError {
  return new KeydError('credential_unavailable', `the link of ${name} is being renewed; ask again`, {
    retryAfterSeconds: 1,
  });
}

function revoked({ name }: Agent, why: string): KeydError {
  return new KeydError('delegation_revoked', `${name} may do nothing now: ${why}`);
}
