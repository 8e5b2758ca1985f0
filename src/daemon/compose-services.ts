/** What the sockets serve, made of the rooms behind it. */
import type { FairQueue } from '../base/fair-queue.ts';
import type { Logger } from '../base/logger.ts';
import type { IssuanceService } from '../issuance/issuance-service.ts';
import { ApprovalDesk } from '../policy/approval-desk.ts';
import type { AuthoritySource } from '../policy/authority.ts';
import type { ActionGate } from '../policy/require-action.ts';
import type { AgentChains } from '../signing/agent-chains.ts';
import { AgentService, type AgentHooks } from '../signing/agent-service.ts';
import type { Agent } from '../signing/agent.ts';
import type { StatusIndices } from '../signing/delegation.ts';
import { DelegationService } from '../signing/delegation-service.ts';
import type { DraftContext } from '../signing/draft.ts';
import type { Hardware } from '../signing/hardware.ts';
import { KeyMaker } from '../signing/key-maker.ts';
import { OwnerPlaces } from '../signing/owner-places.ts';
import type { Signer } from '../signing/signer.ts';
import { SigningService } from '../signing/signing-service.ts';
import { SettleableSignatures } from '../signing/settleable.ts';
import { SubAgentMaker } from '../signing/sub-agent-maker.ts';
import { ApprovalService } from './approval-service.ts';
import { AuditService } from './audit-service.ts';
import { BudgetService } from './budget-service.ts';
import { grantStatus, type DelegationRooms } from './compose-delegations.ts';
import type { DaemonConfig } from './config.ts';
import type { CredentialService } from './credential-service.ts';
import type { EvidenceLogs } from './evidence-logs.ts';
import type { OpenHardware } from './hardware.ts';
import { HostService } from './host-service.ts';
import type { Policies } from './policies.ts';
import { PolicyService } from './policy-service.ts';
import { queuedAttester } from './queued-backend.ts';
import { readResourceKeys } from './resource-keys.ts';
import type { SocketServices } from './sockets.ts';
import type { DaemonState } from './state/state.ts';

export interface ServiceParts {
  readonly config: DaemonConfig;
  readonly version: string;
  readonly state: DaemonState;
  readonly policies: Policies;
  readonly hardware: OpenHardware;
  readonly logs: EvidenceLogs;
  readonly gate: ActionGate;
  readonly backends: Hardware;
  readonly keyQueue: FairQueue;
  readonly issuance: IssuanceService | undefined;
  readonly status: StatusIndices | undefined;
  readonly chains: AgentChains;
  readonly authority: AuthoritySource;
  readonly signer: Signer;
  readonly credentials: CredentialService;
  readonly draftContext: (agent: Agent) => DraftContext;
  readonly rooms: DelegationRooms;
  readonly hooks: AgentHooks;
  readonly reloadPolicies: () => void;
  readonly isDraining: () => boolean;
  readonly logger: Logger;
}

export interface ComposedServices extends SocketServices {
  readonly delegations: DelegationService;
}

export function composeServices(parts: ServiceParts): ComposedServices {
  const { config, hardware, logger, logs, policies, state, version, gate, hooks } = parts;
  const { lanes, tpm } = hardware;
  const { agents, delegations, keyBlobs } = state;
  const { links, ends } = parts.rooms;
  const log = logger.child({ room: 'signing' });
  const common = { ...gate, agents, log, now: Date.now };
  const places = new OwnerPlaces(agents, config.agentsPerCaller);
  const keys = new KeyMaker({
    hardware: parts.backends,
    queue: parts.keyQueue,
    deadlineMs: config.queue.deadlineMs,
    log,
  });
  const desk = new ApprovalDesk({
    store: state.approvals,
    expiryMs: config.approvals.expiryMs,
    maxPerShare: config.approvals.perCaller,
  });
  const agentService = new AgentService({
    ...common,
    hardware: parts.backends,
    keys,
    blobs: keyBlobs,
    identity: () => parts.issuance?.identity(),
    credentials: (agent) => parts.credentials.forSigning(agent),
    hooks,
    places,
    delegations: {
      ...{ store: delegations, chains: parts.chains, links, ends, status: parts.status },
      grantStatus: (agent) => grantStatus(parts.issuance?.credentials(agent)?.issued.grant),
    },
  });
  const settleable = new SettleableSignatures();
  const signing = new SigningService({
    ...gate,
    agents,
    signer: parts.signer,
    usage: logs.usage,
    settleable,
    approvals: desk,
    draftContext: parts.draftContext,
  });
  return {
    agents: agentService,
    signing,
    credentials: parts.credentials,
    delegations: new DelegationService({
      ...common,
      delegations,
      chains: parts.chains,
      ends,
      places,
      maker: new SubAgentMaker({
        agents,
        delegations,
        chains: parts.chains,
        keys,
        ends,
        allocations: logs.ledger,
        status: parts.status,
        log,
        now: Date.now,
      }),
      sign: (call, approvalId) => signing.sign(call, approvalId),
      describe: (agent) => agentService.describe(agent),
      ...(hooks.created === undefined ? {} : { created: hooks.created }),
    }),
    approvals: new ApprovalService({ ...gate, agents, desk }),
    policy: new PolicyService({
      ...gate,
      loaded: () => policies.loaded,
      reload: parts.reloadPolicies,
    }),
    audit: new AuditService({ ...gate, audit: logs.audit }),
    budget: new BudgetService({
      ...gate,
      agents,
      authority: parts.authority,
      delegations,
      links,
      ledger: logs.ledger,
      settleable,
      resourceKeys: readResourceKeys(config.resources),
      now: Date.now,
      audit: logs.audit,
    }),
    host: new HostService({
      ...gate,
      version,
      agents,
      lanes,
      attester: tpm === undefined ? undefined : queuedAttester(tpm.lane, tpm.attester),
      adoptTpm: tpm?.adopt,
      issuance: parts.issuance,
      issuerUrl: config.issuer?.url,
      logs,
      isDraining: parts.isDraining,
      logger,
    }),
  };
}
