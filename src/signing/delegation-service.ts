/** Sub-agents: made with a key and a link of their own, listed, and ended. Implements `DelegationApi` of the socket. */
import type { Erasure } from '../backend/backend.ts';
import type { Logger } from '../base/logger.ts';
import type { Caller } from '../caller/caller.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import { parseAgentName, subAgentName } from '../wire/agent-name.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { AgentView } from '../wire/socket/agents.ts';
import type {
  DelegateReply,
  DelegateRequest,
  DelegationReply,
  DelegationRequest,
} from '../wire/socket/delegations.ts';
import { agentFacts, type Agent, type AgentStore } from './agent.ts';
import type { AgentChains, HeldChain } from './agent-chains.ts';
import type { DelegationStore, SubAgent } from './delegation.ts';
import type { DelegationEnds } from './delegation-ends.ts';
import { requestedDelegation } from './delegation-terms.ts';
import type { DraftContext } from './draft.ts';
import { EphemeralAgents } from './ephemeral-agents.ts';
import { draftLink } from './link.ts';
import type { OwnerPlaces } from './owner-places.ts';
import type { SigningCall, SigningResult } from './signing-service.ts';
import type { PlannedSubAgent, SubAgentMaker } from './sub-agent-maker.ts';

export interface DelegationServiceOptions extends ActionGate {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly delegations: DelegationStore;
  readonly chains: AgentChains;
  readonly maker: SubAgentMaker;
  readonly ends: DelegationEnds;
  readonly places: OwnerPlaces;
  /** `SigningService.sign`: links are judged, recorded and signed like anything else. */
  readonly sign: <Reply extends object>(
    call: SigningCall<Reply>,
    approvalId?: string,
  ) => Promise<SigningResult<Reply>>;
  readonly describe: (agent: Agent) => Promise<AgentView>;
  /** Told after it is durable; what it throws is logged and changes nothing. */
  readonly created?: (agent: Agent) => void;
  readonly log: Logger;
  readonly now: () => number;
}

export interface DelegateContext {
  /** Aborted when the caller has gone. */
  readonly signal: AbortSignal;
  /** Aborted when its connection closes: ephemeral sub-agents end with it. */
  readonly connection: AbortSignal;
}

/** Segments of ephemeral sub-agents; no other may end so, or a name could be given twice. */
const EPHEMERAL_SEGMENT = /-e[0-9]+$/;

export class DelegationService {
  readonly #options: DelegationServiceOptions;
  readonly #ephemeral: EphemeralAgents;

  constructor(options: DelegationServiceOptions) {
    this.#options = options;
    this.#ephemeral = new EphemeralAgents((agent) => {
      this.#endOfConnection(agent);
    });
  }

  /** Ephemeral sub-agents that are alive. */
  get ephemeralCount(): number {
    return this.#ephemeral.size;
  }

  /**
   * One sub-agent, or a batch as a whole or not at all. An approval that has to come first makes everything
   * anew when it is there.
   * @throws KeydError `agent_not_found`, `no_grant`, `delegation_refused`, `name_in_use`, `invalid_name`,
   *   `budget_exceeded`, `too_many_requests`, those of policy and of the backends
   */
  async delegate(
    caller: Caller,
    idOrName: string,
    request: DelegateRequest,
    context: DelegateContext,
    approvalId?: string,
  ): Promise<DelegateReply | object> {
    const parent = this.#find(idOrName);
    await this.#requireUse(caller, parent);
    const requests = 'batch' in request ? request.batch : [request];
    const { held, planned } = await this.#refusals(caller, parent, () => this.#plan(parent, requests));
    const pending: { approval?: object } = {};
    const made = await this.#options.places.during(parent.ownerUid, planned.length, () =>
      this.#options.maker.make(caller, parent, held, planned, async (link) => {
        const result = await this.#options.sign(
          {
            operation: 'delegate',
            caller,
            agent: parent.id,
            request,
            signal: context.signal,
            draft: (draftContext: DraftContext) => draftLink(draftContext, link),
            rerun: (id, signal) => this.delegate(caller, idOrName, request, { ...context, signal }, id),
          },
          approvalId,
        );
        if ('link' in result) return result.link;
        pending.approval = result;
        return undefined;
      }),
    );
    if (made === undefined) {
      if (pending.approval === undefined || planned.length > 1) {
        throw new KeydError(
          'policy_denied',
          'policy wants a person to allow each of these; delegate one at a time',
        );
      }
      return pending.approval;
    }
    return this.#reply(made, context, 'batch' in request);
  }

  /** Direct sub-agents. @throws KeydError `agent_not_found`, `policy_denied` */
  async list(caller: Caller, idOrName: string): Promise<readonly AgentView[]> {
    const { agents, authorizer, delegations, describe } = this.#options;
    const parent = this.#find(idOrName);
    const { refusal } = await authorizer.authorizeAction(caller, {
      action: 'agent-show',
      agent: agentFacts(parent),
    });
    if (refusal !== undefined) throw refusal;
    const children = delegations.childrenOf(parent.id).flatMap(({ agentId }) => agents.find(agentId) ?? []);
    return Promise.all(children.map(describe));
  }

  /**
   * The tokens from DT₀ to the agent's own.
   * @throws KeydError `agent_not_found`, `policy_denied`, `no_grant`, `delegation_*`
   */
  async chain(caller: Caller, idOrName: string): Promise<readonly string[]> {
    const agent = this.#find(idOrName);
    return requireAction(this.#options, caller, { action: 'credentials-read', agent }, () =>
      Promise.resolve(this.#held(agent).tokens),
    );
  }

  /**
   * Ends a sub-agent and everything below it, at once.
   * @throws KeydError `agent_not_found`, `policy_denied`, `conflict` for a root agent, those of its backend
   */
  async revoke(caller: Caller, idOrName: string): Promise<Erasure> {
    const agent = this.#find(idOrName);
    return requireAction(this.#options, caller, { action: 'delegation-revoke', agent }, () => {
      if (this.#options.delegations.find(agent.id) === undefined) {
        throw new KeydError('conflict', `${agent.name} is no sub-agent; retire it instead`);
      }
      return this.#options.ends.end(agent);
    });
  }

  /** An agent has ended, however it did. */
  ended(agentId: string): void {
    this.#ephemeral.ended(agentId);
  }

  /** What can be said before anything is made. */
  #plan(
    parent: Agent,
    requests: readonly DelegationRequest[],
  ): { readonly held: HeldChain; readonly planned: readonly PlannedSubAgent[] } {
    const { authorizer, now } = this.#options;
    if (authorizer.mayRawSign(parent.name)) {
      throw new KeydError(
        'delegation_refused',
        `the key of ${parent.name} may sign raw octets, so that it could forge links`,
      );
    }
    const held = this.#held(parent);
    const delegator = { token: held.chain.leaf, endsAtMs: held.endsAtMs };
    const planned = requests.map((request) => {
      const segment = this.#segment(parent, request);
      return {
        name: subAgentName(parseAgentName(parent.name), segment).text,
        segment,
        key: {
          kind: request.backend ?? parent.backend,
          algorithm: request.algorithm ?? parent.algorithm,
          ephemeral: request.ephemeral ?? false,
        },
        requested: requestedDelegation(delegator, request, now()),
      };
    });
    const twice = planned.find(
      ({ name }, index) => planned.findIndex((each) => each.name === name) !== index,
    );
    if (twice !== undefined) throw new KeydError('name_in_use', `the batch has ${twice.name} twice`);
    return { held, planned };
  }

  #segment(parent: Agent, { name, ephemeral }: DelegationRequest): string {
    if (ephemeral !== true) {
      if (!EPHEMERAL_SEGMENT.test(name)) return name;
      throw new KeydError('invalid_name', 'names that end in -e and digits belong to ephemeral sub-agents');
    }
    return `${name}-e${this.#options.delegations.nextEphemeral(parent.id)}`;
  }

  async #reply(
    made: readonly SubAgent[],
    { connection }: DelegateContext,
    isBatch: boolean,
  ): Promise<DelegateReply> {
    const { created, describe, log } = this.#options;
    this.#ephemeral.bind(
      connection,
      made.map(({ agent }) => agent).filter(({ ephemeral }) => ephemeral === true),
    );
    for (const { agent } of made) {
      try {
        created?.(agent);
      } catch (thrown) {
        log.error({ agentId: agent.id, error: asKeydError(thrown) }, 'a hook failed');
      }
    }
    const results: readonly DelegationReply[] = await Promise.all(
      made.map(async ({ agent, delegation }) => ({
        agent: await describe(agent),
        chain: delegation.chain,
      })),
    );
    const [only] = results;
    return isBatch || only === undefined ? { results } : only;
  }

  #endOfConnection(agent: Agent): void {
    const { agents, ends, log } = this.#options;
    if (agents.find(agent.id) === undefined) return;
    ends.end(agent).catch((thrown: unknown) => {
      log.warn(
        { agentId: agent.id, error: asKeydError(thrown) },
        'the key of an ephemeral sub-agent is left to be destroyed',
      );
    });
  }

  /** Whether the caller may have this agent sign anything at all. */
  async #requireUse(caller: Caller, agent: Agent): Promise<void> {
    const { decision, refusal } = await this.#options.authorizer.authorizeAction(caller, {
      action: 'agent-use',
      agent: agentFacts(agent),
    });
    if (refusal === undefined) return;
    await this.#options.recorder.decision({
      caller,
      decision,
      action: 'delegate',
      agent: agentFacts(agent),
      parameters: {},
      refusal: refusal.code,
    });
    throw refusal;
  }

  /** A refusal before anything is signed is on record like one after. */
  async #refusals<T>(caller: Caller, agent: Agent, act: () => T): Promise<T> {
    try {
      return act();
    } catch (thrown) {
      const { code, status } = asKeydError(thrown);
      if (status === 403) {
        const { authorizer, recorder } = this.#options;
        await recorder.decision({
          caller,
          decision: {
            effect: 'deny',
            policies: ['delegation-chain'],
            policyVersion: authorizer.policyVersion,
          },
          action: 'delegate',
          agent: agentFacts(agent),
          parameters: {},
          refusal: code,
        });
      }
      throw thrown;
    }
  }

  #held(agent: Agent): HeldChain {
    const held = this.#options.chains.of(agent);
    if (held === undefined) throw new KeydError('no_grant', `${agent.name} has no grant of its principal`);
    return held;
  }

  #find(idOrName: string): Agent {
    const agent = this.#options.agents.find(idOrName);
    if (agent === undefined) throw new KeydError('agent_not_found', 'there is no such agent');
    return agent;
  }
}
