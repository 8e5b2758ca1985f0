/** Agents over their life: made, shown, given a new key, retired. Implements `AgentApi` of the socket. */
import { randomUUID } from 'node:crypto';
import type { BackendDescription, BackendKind, Erasure, KeyBlobStore } from '../backend/backend.ts';
import { KeyedLock } from '../base/keyed-lock.ts';
import type { Logger } from '../base/logger.ts';
import type { Caller } from '../caller/caller.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import { parseAgentName, parseRootAgentName } from '../wire/agent-name.ts';
import { toPem } from '../wire/pem.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { AgentView, CreateAgentRequest, RotateAgentRequest } from '../wire/socket/agents.ts';
import type { Agent, AgentKey, AgentStore } from './agent.ts';
import type { AgentChains } from './agent-chains.ts';
import type { Delegation, DelegationStore, StatusIndices, StatusReference } from './delegation.ts';
import type { DelegationEnds } from './delegation-ends.ts';
import { delegationView } from './delegation-view.ts';
import { agentIdentifiers, type AgentCredentials, type HostIdentity } from './draft.ts';
import type { Hardware } from './hardware.ts';
import type { KeyMaker } from './key-maker.ts';
import type { LinkRenewer } from './link-renewer.ts';
import type { OwnerPlaces } from './owner-places.ts';

/** Told after the change is durable; what they throw is logged and changes nothing. */
export interface AgentHooks {
  readonly created?: (agent: Agent) => void;
  readonly rotated?: (agent: Agent, previous: Agent, reason: 'routine' | 'compromise') => void;
  readonly retired?: (agent: Agent) => void;
}

/** What becomes of sub-agents when an agent changes. */
export interface DelegationParts {
  readonly store: DelegationStore;
  readonly chains: Pick<AgentChains, 'replaced'>;
  readonly links: Pick<LinkRenewer, 'rekey' | 'wake'>;
  readonly ends: Pick<DelegationEnds, 'end' | 'endBelow' | 'revokeGrant'>;
  readonly status: StatusIndices | undefined;
  /** Where others learn whether the grant of this agent's key still counts; undefined where it has no such place. */
  readonly grantStatus: (agent: Agent) => StatusReference | undefined;
}

export interface AgentServiceOptions extends ActionGate {
  readonly agents: AgentStore;
  readonly hardware: Hardware;
  readonly keys: KeyMaker;
  /** Where the TPM backend keeps its wrapped keys, for `export-tss2`. */
  readonly blobs: Pick<KeyBlobStore, 'get'>;
  readonly identity: () => HostIdentity | undefined;
  readonly credentials: (agent: Agent) => AgentCredentials | undefined;
  readonly hooks: AgentHooks;
  /** Live agents that one uid may own (S20); shared with delegation, which makes agents too. */
  readonly places: OwnerPlaces;
  /** Undefined where nothing is delegated. */
  readonly delegations?: DelegationParts | undefined;
  readonly log: Logger;
  readonly now: () => number;
}

const DEFAULT_ALGORITHM = 'ES256';

export class AgentService {
  readonly #options: AgentServiceOptions;
  /** Changes of one agent follow one another. */
  readonly #changes = new KeyedLock();

  constructor(options: AgentServiceOptions) {
    this.#options = options;
  }

  /** The agents that this caller may see. */
  async list(caller: Caller): Promise<readonly AgentView[]> {
    const { agents, authorizer } = this.#options;
    const seen = agents.list().filter((agent) => authorizer.maySee(caller, agent));
    const described = new Map<BackendKind, BackendDescription | undefined>();
    for (const kind of new Set(seen.map((agent) => agent.backend))) {
      described.set(kind, await this.#options.hardware.describe(kind));
    }
    return seen.map((agent) => this.#view(agent, described.get(agent.backend)));
  }

  /** @throws KeydError `agent_not_found`, `policy_denied` */
  async show(caller: Caller, idOrName: string): Promise<AgentView> {
    const agent = this.#find(idOrName);
    const { refusal } = await this.#options.authorizer.authorizeAction(caller, {
      action: 'agent-show',
      agent,
    });
    if (refusal !== undefined) throw refusal;
    return this.describe(agent);
  }

  /**
   * The name is taken before the key is made, and given back if it could not be made.
   * @throws KeydError `invalid_name`, `name_in_use`, `name_not_permitted`, `policy_denied`,
   *   `unsupported_algorithm`, `too_many_requests`, and those of the backend
   */
  async create(caller: Caller, request: CreateAgentRequest): Promise<AgentView> {
    parseRootAgentName(request.name);
    const { name, backend, algorithm = DEFAULT_ALGORITHM, ownerUid = caller.uid } = request;
    const action = { action: 'agent-create', name, backend, algorithm, ownerUid } as const;
    return requireAction(this.#options, caller, action, async () => {
      return this.#options.places.during(ownerUid, 1, async () => {
        const agent = await this.#make(caller, { name, backend, algorithm, ownerUid });
        this.#tell(this.#options.hooks.created, agent);
        return this.describe(agent);
      });
    });
  }

  /**
   * The new key is made and in use before the old one is destroyed. After a compromise what the old key made
   * ends first, whatever becomes of the rest (S18).
   * @throws KeydError `agent_not_found`, `policy_denied`, and those of the backend
   */
  async rotate(caller: Caller, idOrName: string, request: RotateAgentRequest): Promise<AgentView> {
    const { id } = this.#find(idOrName);
    return this.#changes.run(id, async () => {
      const agent = this.#find(id);
      const reason = request.reason ?? 'routine';
      return requireAction(this.#options, caller, { action: 'agent-rotate', agent, reason }, async () => {
        const { delegations, hooks } = this.#options;
        if (reason === 'compromise') this.#endAll(agent);
        await this.#replaceKey(caller, agent, reason);
        delegations?.chains.replaced(agent.kid, reason);
        delegations?.links.wake();
        const rotated = this.#find(id);
        this.#tell((now) => hooks.rotated?.(now, agent, reason), rotated);
        await this.#destroyReplaced(agent);
        return this.describe(rotated);
      });
    });
  }

  /**
   * Ends everything below the agent, destroys the key, then leaves the tombstone: an interrupted retirement is
   * repeated, never half forgotten.
   * @throws KeydError `agent_not_found`, `policy_denied`, and those of the backend
   */
  async retire(caller: Caller, idOrName: string): Promise<Erasure> {
    const { id } = this.#find(idOrName);
    return this.#changes.run(id, async () => {
      const agent = this.#find(id);
      return requireAction(this.#options, caller, { action: 'agent-retire', agent }, async () => {
        const { agents, delegations, hardware, hooks } = this.#options;
        if (delegations?.store.find(id) !== undefined) return delegations.ends.end(agent);
        this.#endAll(agent);
        const erasure = await hardware.lane(agent.backend).backend.destroy(agent.keyId);
        agents.retire(id);
        this.#tell(hooks.retired, agent);
        return erasure;
      });
    });
  }

  /**
   * The key file of a TPM key, `TSS2 PRIVATE KEY`, without its auth (DECISIONS 13).
   * @throws KeydError `agent_not_found`, `policy_denied`, `conflict` for a key in a token, `key_not_found`
   */
  async exportTss2(caller: Caller, idOrName: string): Promise<string> {
    const agent = this.#find(idOrName);
    return requireAction(this.#options, caller, { action: 'agent-export-tss2', agent }, async () => {
      if (agent.backend !== 'tpm') {
        throw new KeydError('conflict', 'the key is in a PKCS#11 token, which has no key file');
      }
      const record = await this.#options.blobs.get(agent.keyId);
      if (record === undefined) {
        throw new KeydError('key_not_found', `the key of ${agent.name} has no wrapped form on this host`);
      }
      return toPem('TSS2 PRIVATE KEY', record.blob);
    });
  }

  /** What others hold by this agent's key ends, whatever becomes of the key. */
  #endAll(agent: Agent): void {
    const { delegations } = this.#options;
    delegations?.ends.endBelow(agent.id);
    const status = delegations?.grantStatus(agent);
    if (status !== undefined) delegations?.ends.revokeGrant(agent, status);
  }

  #find(idOrName: string): Agent {
    const agent = this.#options.agents.find(idOrName);
    if (agent === undefined) throw new KeydError('agent_not_found', 'there is no such agent');
    return agent;
  }

  async #make(
    caller: Caller,
    { name, backend, algorithm, ownerUid }: Required<CreateAgentRequest>,
  ): Promise<Agent> {
    const { agents, keys, now } = this.#options;
    const id = randomUUID();
    agents.reserveName(id, name, ownerUid);
    const made = { agent: undefined as Agent | undefined };
    try {
      await keys.make(caller, backend, algorithm, (key) => {
        const agent = { id, name, ownerUid, backend, createdAtMs: now(), ...key };
        agents.add(agent);
        made.agent = agent;
      });
    } finally {
      if (made.agent === undefined) agents.releaseName(id);
    }
    if (made.agent === undefined) throw new KeydError('internal', 'a key was made and not taken');
    return made.agent;
  }

  /** A sub-agent's key and the link for it come into force together. */
  async #replaceKey(caller: Caller, agent: Agent, reason: 'routine' | 'compromise'): Promise<void> {
    const { agents, delegations, keys } = this.#options;
    const { backend: kind, algorithm, ephemeral = false } = agent;
    const delegation = delegations?.store.find(agent.id);
    const made: { key?: AgentKey } = {};
    await keys.makeAll(caller, [{ kind, algorithm, ephemeral }], ([key]) => {
      if (key === undefined) return;
      if (delegation === undefined) agents.replaceKey(agent.id, key);
      else made.key = key;
    });
    if (made.key === undefined || delegations === undefined) return;
    try {
      await delegations.links.rekey(agent, made.key, await this.#statusAfter(delegation, reason));
    } catch (thrown) {
      await keys.discard(kind, made.key.keyId);
      throw thrown;
    }
  }

  /** A link by a compromised key is revoked for others, and the new one told apart from it. */
  async #statusAfter(
    delegation: Delegation | undefined,
    reason: 'routine' | 'compromise',
  ): Promise<StatusReference | undefined> {
    const status = this.#options.delegations?.status;
    const old = delegation?.status;
    if (old === undefined || status === undefined || reason === 'routine') return old;
    await status.revoke([old]);
    const [fresh] = await status.allocate(1);
    return fresh;
  }

  /** The agent has its new key by now, so that a failure here is for the operator and not for the caller. */
  async #destroyReplaced(previous: Agent): Promise<void> {
    try {
      await this.#options.hardware.lane(previous.backend).backend.destroy(previous.keyId);
    } catch (thrown) {
      this.#options.log.error(
        { agentId: previous.id, keyId: previous.keyId, error: asKeydError(thrown) },
        'a replaced key could not be destroyed; no agent uses it any more',
      );
    }
  }

  #tell(hook: ((agent: Agent) => void) | undefined, agent: Agent): void {
    try {
      hook?.(agent);
    } catch (thrown) {
      this.#options.log.error({ agentId: agent.id, error: asKeydError(thrown) }, 'a hook failed');
    }
  }

  /** An agent as the socket shows it, to whom it may be shown. */
  async describe(agent: Agent): Promise<AgentView> {
    return this.#view(agent, await this.#options.hardware.describe(agent.backend));
  }

  #view(agent: Agent, backend: BackendDescription | undefined): AgentView {
    const proven = this.#options.credentials(agent) ?? backend;
    const { id, name, kid, algorithm, publicJwk, ownerUid } = agent;
    return {
      id,
      name,
      kid,
      backend: agent.backend,
      algorithm,
      publicJwk,
      assurance: proven?.assurance ?? 'software',
      assuranceReason: proven?.assuranceReason ?? 'its backend is not configured on this host any more',
      ownerUid,
      createdAt: new Date(agent.createdAtMs).toISOString(),
      identifiers: agentIdentifiers(this.#options.identity(), name),
      ...this.#delegationOf(agent),
    };
  }

  #delegationOf({ id, name }: Agent): Partial<AgentView> {
    const delegation = this.#options.delegations?.store.find(id);
    if (delegation === undefined) return {};
    const { segments, depth } = parseAgentName(name);
    return { parent: segments.slice(0, -1).join('+'), depth, delegation: delegationView(delegation) };
  }
}
