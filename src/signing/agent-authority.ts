/** What an agent may do at most, by its chain: the view that policy has of it. */
import { actionFault, parametersRead } from '../delegation/action.ts';
import { readClientId, type DelegationToken } from '../delegation/claims.ts';
import type { AgentAuthority, AuthoritySource } from '../policy/authority.ts';
import type { Charge } from '../policy/counters.ts';
import type { AgentFacts, Proposal } from '../policy/proposal.ts';
import type { AgentStore } from './agent.ts';
import type { AgentChains, HeldChain } from './agent-chains.ts';
import { actionFacts } from './action-facts.ts';
import { delegationAccount, rootAccount } from './delegation.ts';

const CALLS = 'calls';
const ONE_CALL: Charge = Object.freeze({ kind: 'budget', unit: 'calls.0', amount: 1n });

export interface AgentAuthoritiesOptions {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly chains: AgentChains;
}

export class AgentAuthorities implements AuthoritySource {
  readonly #options: AgentAuthoritiesOptions;
  /** Chains change when they are renewed; a view of one that is gone goes with it. */
  readonly #views = new WeakMap<HeldChain['chain'], AgentAuthority>();

  constructor(options: AgentAuthoritiesOptions) {
    this.#options = options;
  }

  of({ id }: AgentFacts): AgentAuthority | undefined {
    const { agents, chains } = this.#options;
    const agent = agents.find(id);
    const held = agent === undefined ? undefined : chains.of(agent);
    if (held === undefined) return undefined;
    const known = this.#views.get(held.chain);
    if (known !== undefined) return known;
    const view = authorityOf(id, held);
    this.#views.set(held.chain, view);
    return view;
  }
}

function authorityOf(agentId: string, { chain }: HeldChain): AgentAuthority {
  const { root, leaf, principal, tokens } = chain;
  const grantId = root.claims.jti;
  const depth = leaf.claims.del_depth;
  const read = parametersRead(leaf.constraints);
  return Object.freeze({
    principal,
    grantId,
    development: root.claims.approval.kind === 'development',
    depth,
    maxDepth: leaf.claims.del_max_depth,
    links: tokens.map(({ claims }) => ({
      jti: claims.jti,
      agentName: readClientId(claims.client_id)?.agent ?? claims.client_id,
      kid: claims.cnf.jkt,
    })),
    scopes: leaf.scopes,
    audiences: leaf.claims.aud,
    expiresAtMs: chain.expiresAtSeconds * 1000,
    charges: leaf.constraints.some(({ key }) => key === CALLS) ? [ONE_CALL] : [],
    account: depth === 0 ? rootAccount(grantId) : delegationAccount(agentId),
    readsUnbound: (proposal: Proposal) => unboundRead(read, proposal),
    refuses: (proposal: Proposal, scopes: readonly string[], charges: readonly Charge[]) =>
      actionFault(judgedLeaf(leaf, proposal), actionFacts(proposal, scopes, charges)),
  });
}

/**
 * A link does nothing by itself: what its holder does is held against the same constraints again, which every
 * link repeats. Whether this agent may delegate at all is what is judged of it.
 */
function judgedLeaf(leaf: DelegationToken, { parameters }: Proposal): DelegationToken {
  if (parameters.operation !== 'delegate') return leaf;
  return { ...leaf, constraints: leaf.constraints.filter(({ key }) => key === 'operation') };
}

function unboundRead(read: ReadonlySet<string>, { binds, parameters }: Proposal): string | undefined {
  if (parameters.operation === 'delegate') return undefined;
  const bound: ReadonlySet<string> = binds;
  for (const name of read) {
    if (!bound.has(name)) {
      return `the chain limits ${name}, which a proof of the kind ${parameters.operation} does not bind`;
    }
  }
  return undefined;
}
