/** The rooms of delegation, wired to one another: chains, their links, how they end, and who makes them. */
import type { Logger } from '../base/logger.ts';
import type { Caller } from '../caller/caller.ts';
import type { ChainRoot, Chain } from '../delegation/chain.ts';
import { parseDelegationToken } from '../delegation/claims.ts';
import type { IssuanceService } from '../issuance/issuance-service.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Authorizer } from '../policy/authorize.ts';
import type { Recorder } from '../policy/recorder.ts';
import type { Agent } from '../signing/agent.ts';
import { AgentChains } from '../signing/agent-chains.ts';
import {
  rootAccount,
  type DelegationStore,
  type StatusIndices,
  type StatusReference,
} from '../signing/delegation.ts';
import { DelegationEnds } from '../signing/delegation-ends.ts';
import { budgetsOf } from '../signing/delegation-terms.ts';
import type { DraftContext } from '../signing/draft.ts';
import type { Hardware } from '../signing/hardware.ts';
import { LinkRenewer } from '../signing/link-renewer.ts';
import { LinkSigner } from '../signing/link-signer.ts';
import type { Signer } from '../signing/signer.ts';
import { asKeydError } from '../wire/problem.ts';
import { hostCgroupFacts } from '../caller/process-info.ts';
import { WatchedProcess } from '../caller/watched-process.ts';
import type { CredentialService } from './credential-service.ts';
import type { SqliteAgentStore } from './state/agent-store.ts';

export interface ChainOptions {
  readonly agents: SqliteAgentStore;
  readonly delegations: DelegationStore;
  readonly issuance: IssuanceService | undefined;
  readonly ledger: Ledger;
  readonly log: Logger;
}

/** Chains by the grants that the issuer gave with credentials, and their ceilings in the ledger. */
export function composeChains({ agents, delegations, issuance, ledger, log }: ChainOptions): AgentChains {
  return new AgentChains({
    agents,
    delegations,
    grant: (agent) => issuance?.credentials(agent)?.issued.grant,
    root: () => chainRoot(issuance),
    granted: (grant) => {
      openGrant(ledger, grant, log);
    },
    now: Date.now,
  });
}

/** Agent tokens that the agents directly below an agent have now. */
export function subAgentTokens(
  { agents, delegations }: Pick<ChainOptions, 'agents' | 'delegations'>,
  credentials: Pick<CredentialService, 'forSigning'>,
  { id }: Agent,
): readonly string[] {
  return delegations
    .childrenOf(id)
    .flatMap(({ agentId }) => agents.find(agentId) ?? [])
    .flatMap((child) => credentials.forSigning(child)?.agentToken ?? []);
}

/** What the issuer that this host is enrolled with signs grants with. A development grant counts if it gives one. */
function chainRoot(issuance: IssuanceService | undefined): ChainRoot | undefined {
  const host = issuance?.host();
  if (host === undefined) return undefined;
  const { issuer, keys } = host.issuer;
  return {
    grantKeys: [keys.grant],
    issuer,
    trustDomain: host.standing.host.trustDomain,
    allowDevelopment: true,
  };
}

function openGrant(ledger: Ledger, { constraints, claims }: Chain['root'], log: Logger): void {
  const budgets = new Map(budgetsOf(constraints, constraints).map(({ unit, amount }) => [unit, amount]));
  ledger.openGrant(rootAccount(claims.jti), budgets).catch((thrown: unknown) => {
    log.error(
      { grantId: claims.jti, error: asKeydError(thrown) },
      'the ceilings of a grant are not on record',
    );
  });
}

/** Where the status of a DT₀ is told, if it says so. */
export function grantStatus(grant: string | undefined): StatusReference | undefined {
  return grant === undefined ? undefined : parseDelegationToken(grant, true).claims.status?.status_list;
}

export interface DelegationRoomsOptions {
  readonly agents: SqliteAgentStore;
  readonly delegations: DelegationStore;
  readonly chains: AgentChains;
  readonly ledger: Ledger;
  readonly status: StatusIndices | undefined;
  readonly hardware: Hardware;
  readonly authorizer: Authorizer;
  readonly recorder: Recorder;
  readonly signer: Signer;
  readonly draftContext: (agent: Agent) => DraftContext;
  /** Told of every agent that ends with a delegation. */
  readonly retired: (agent: Agent) => void;
  readonly log: Logger;
}

export interface DelegationRooms {
  readonly links: LinkRenewer;
  readonly ends: DelegationEnds;
  start(): void;
  stop(): Promise<void>;
}

export function composeDelegations(options: DelegationRoomsOptions): DelegationRooms {
  const { agents, delegations, chains, log, authorizer, recorder, signer, draftContext } = options;
  const common = { agents, delegations, log, now: Date.now };
  const linkSigner = new LinkSigner({ authorizer, recorder, signer, self: ownProcess() });
  const links = new LinkRenewer({ ...common, chains, signer: linkSigner, draftContext });
  const ends = new DelegationEnds({
    ...common,
    chains,
    hardware: options.hardware,
    allocations: options.ledger,
    status: options.status,
    retired: options.retired,
  });
  return {
    links,
    ends,
    start() {
      ends.start();
      links.start();
    },
    async stop() {
      await Promise.all([links.stop(), ends.stop()]);
    },
  };
}

/** In whose name the audit log has what the daemon does by itself. */
function ownProcess(): Caller {
  const peer = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: process.pid, groups: [] };
  const caller: Caller = { ...peer, ingress: { kind: 'admin' } };
  const watched = WatchedProcess.open(peer, '/proc');
  if (watched === undefined) return caller;
  watched.close();
  const { startTimeTicks, cgroupPath } = watched.facts;
  return { ...caller, startTimeTicks, ...hostCgroupFacts(cgroupPath) };
}
