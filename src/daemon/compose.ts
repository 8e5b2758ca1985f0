/** The composition root: the one place where the rooms are wired to one another. */
import { FairQueue } from '../base/fair-queue.ts';
import type { Logger } from '../base/logger.ts';
import { pooledRandomOctets } from '../base/random-pool.ts';
import type { IssuanceService } from '../issuance/issuance-service.ts';
import { SpareIndices } from '../issuance/spare-indices.ts';
import { Authorizer } from '../policy/authorize.ts';
import { callerRoles } from '../policy/judge.ts';
import type { Recorder } from '../policy/recorder.ts';
import type { AuthzenDecisionPoint } from '../policy/authzen/authzen-decision-point.ts';
import type { PolicyRules } from '../policy/rules.ts';
import type { PolicyEngine } from '../policy/verdict.ts';
import type { Agent } from '../signing/agent.ts';
import { AgentAuthorities } from '../signing/agent-authority.ts';
import type { AgentChains } from '../signing/agent-chains.ts';
import type { AgentHooks } from '../signing/agent-service.ts';
import { AuditRecorder } from '../signing/audit-recorder.ts';
import type { DelegationService } from '../signing/delegation-service.ts';
import { draftContext, type DraftContext, type DraftContextSources } from '../signing/draft.ts';
import { Hardware } from '../signing/hardware.ts';
import { Signer } from '../signing/signer.ts';
import { SocketMetrics } from '../socket/metrics.ts';
import type { ListenAddress } from '../socket/listener.ts';
import { asKeydError } from '../wire/problem.ts';
import { Anchoring } from './anchoring.ts';
import { attestationFacts } from './attestation-facts.ts';
import { approvedNames, composeIssuance, issuerAuthorities } from './compose-issuance.ts';
import {
  composeChains,
  composeDelegations,
  subAgentTokens,
  type DelegationRooms,
} from './compose-delegations.ts';
import { readSecret } from './config-host.ts';
import type { DaemonConfig } from './config.ts';
import { CredentialService } from './credential-service.ts';
import { composeServices } from './compose-services.ts';
import { openDecisionPoint } from './decision-point-config.ts';
import { endEvidenceLogs, openEvidenceLogs, type EvidenceLogs } from './evidence-logs.ts';
import { closeHardware, KEY_GENERATION_QUEUE, openHardware, type OpenHardware } from './hardware.ts';
import { openPolicies, type Policies } from './policies.ts';
import { DaemonSockets } from './sockets.ts';
import { openState, type DaemonState } from './state/state.ts';

export interface Daemon {
  /** Listens and begins to keep credentials fresh. @throws KeydError `conflict`, `configuration_invalid` */
  start(handedOver: ReadonlyMap<string, ListenAddress>): Promise<void>;
  /**
   * Puts other rules in force, and the policy set as it is on disk now; with a fault anywhere nothing changes.
   * @throws KeydError `configuration_invalid`
   */
  reload(rules: PolicyRules): void;
  /** Answers what is under way, then lets go of hardware and state. */
  stop(): Promise<void>;
}

/** What a measurement puts in place of what ships, to tell the cost of the rest. No configuration leads here. */
export interface ReplacedParts {
  readonly engine?: (shipped: PolicyEngine) => PolicyEngine;
  readonly recorder?: (shipped: Recorder) => Recorder;
}

/** Between two looks for a counter that could not be read. */
const LEDGER_MEND_MS = 5_000;
/** Closed accounts give back what they have left, and windows that are over are forgotten. */
const LEDGER_SWEEP_MS = 60_000;

/** What is opened, before anything is wired. */
interface Opened {
  readonly config: DaemonConfig;
  readonly version: string;
  readonly logger: Logger;
  readonly state: DaemonState;
  readonly policies: Policies;
  readonly hardware: OpenHardware;
  readonly logs: EvidenceLogs;
  readonly replaced: ReplacedParts;
}

/** @throws KeydError `conflict`, `state_newer`, `configuration_invalid`, `audit_unavailable`, `ledger_unavailable` */
export async function composeDaemon(
  config: DaemonConfig,
  version: string,
  logger: Logger,
  replaced: ReplacedParts = {},
): Promise<Daemon> {
  const policies = openPolicies(config.policySet, logger.child({ room: 'policy' }));
  const state = openState(config.stateDirectory);
  try {
    const hardware = await openHardware(config, state, readSecret(config.secret.path), logger);
    try {
      const logs = await openEvidenceLogs(config, state, hardware, logger);
      return new ComposedDaemon({ config, version, logger, state, policies, hardware, logs, replaced });
    } catch (thrown) {
      await closeHardware(hardware);
      throw thrown;
    }
  } catch (thrown) {
    state.close();
    throw thrown;
  }
}

class ComposedDaemon implements Daemon {
  readonly #opened: Opened;
  readonly #keyQueue = new FairQueue(KEY_GENERATION_QUEUE);
  readonly #backends: Hardware;
  readonly #issuance: IssuanceService | undefined;
  readonly #status: SpareIndices | undefined;
  readonly #chains: AgentChains;
  readonly #authority: AgentAuthorities;
  readonly #metrics = new SocketMetrics();
  readonly #decisionPoint: AuthzenDecisionPoint | undefined;
  readonly #authorizer: Authorizer;
  readonly #audit: AuditRecorder;
  readonly #recorder: Recorder;
  readonly #signer: Signer;
  readonly #credentials: CredentialService;
  readonly #draftSources: DraftContextSources;
  readonly #rooms: DelegationRooms;
  readonly #delegations: DelegationService;
  readonly #sockets: DaemonSockets;
  readonly #timers: NodeJS.Timeout[] = [];
  #rules: PolicyRules;
  #draining = false;

  constructor(opened: Opened) {
    this.#opened = opened;
    const { config, hardware, logger, logs, policies, state, replaced, version } = opened;
    const { agents, delegations } = state;
    const { ledger } = logs;
    this.#rules = config.policy;
    this.#backends = new Hardware(hardware.lanes);
    this.#issuance = composeIssuance({
      ...{ config, state, hardware, backends: this.#backends, logs: logs.evidence, logger },
      mayRawSign: (name) => this.#authorizer.mayRawSign(name),
    });
    const issuance = this.#issuance;
    this.#status = issuance === undefined ? undefined : new SpareIndices(issuance.statusIndices());
    this.#chains = composeChains({
      agents,
      delegations,
      issuance,
      ledger,
      log: logger.child({ room: 'delegation' }),
    });
    this.#authority = new AgentAuthorities({ agents, chains: this.#chains });
    this.#decisionPoint = openDecisionPoint(config.policySet.decisionPoint, {
      host: () => issuance?.identity(),
      measured: (outcome, seconds) => {
        this.#metrics.opinion(outcome, seconds);
      },
      log: logger.child({ room: 'policy' }),
    });
    this.#authorizer = new Authorizer({
      rules: config.policy,
      engine: replaced.engine?.(policies.loaded.engine) ?? policies.loaded.engine,
      authority: this.#authority,
      counters: ledger,
      usage: logs.usage,
      attestation: attestationFacts({ issuance, agents, now: Date.now }),
      decisionPoint: this.#decisionPoint,
      approvedNames: () => approvedNames(config, issuance),
    });
    this.#audit = new AuditRecorder(logs.audit, config.audit.denialsPerMinute);
    this.#recorder = replaced.recorder?.(this.#audit) ?? this.#audit;
    this.#signer = new Signer({
      authorizer: this.#authorizer,
      agents,
      hardware: this.#backends,
      now: Date.now,
    });
    this.#credentials = new CredentialService({ ...this.#gate(), agents, issuance });
    this.#draftSources = this.#composeDraftSources();
    this.#rooms = this.#composeDelegationRooms();
    const services = composeServices({
      ...{ config, version, state, policies, hardware, logs, logger, gate: this.#gate() },
      backends: this.#backends,
      keyQueue: this.#keyQueue,
      issuance,
      status: this.#status,
      chains: this.#chains,
      authority: this.#authority,
      signer: this.#signer,
      credentials: this.#credentials,
      draftContext: (agent) => this.#draft(agent),
      rooms: this.#rooms,
      hooks: this.#hooks(),
      reloadPolicies: () => {
        this.reload(this.#rules);
      },
      isDraining: () => this.#draining,
    });
    this.#delegations = services.delegations;
    this.#sockets = new DaemonSockets({
      config,
      services,
      idempotency: state.idempotency,
      queues: hardware.lanes.map(({ backend, queue }) => ({ backend: backend.kind, queue })),
      hasRole: (caller) => callerRoles(this.#rules, caller).length > 0,
      isDraining: () => this.#draining,
      metrics: this.#metrics,
      logger,
    });
  }

  async start(handedOver: ReadonlyMap<string, ListenAddress>): Promise<void> {
    const { config, logger, logs, state } = this.#opened;
    const interrupted = state.agents.releaseInterrupted();
    if (interrupted.length > 0) {
      logger.warn({ names: interrupted }, 'creations that a crash interrupted gave their names back');
    }
    await this.#sockets.listen(
      handedOver,
      state.agents.list().map(({ name }) => name),
    );
    this.#recordPolicies();
    this.#issuance?.start();
    this.#rooms.start();
    const anchoring = new Anchoring({ ...logs, log: logger });
    this.#every(config.audit.checkpointMs, 'a checkpoint could not be made', () => anchoring.tick());
    this.#every(LEDGER_MEND_MS, 'the ledger could not be compared', () => anchoring.mend());
    this.#every(LEDGER_SWEEP_MS, 'the ledger could not be swept', () => logs.ledger.sweep());
  }

  reload(rules: PolicyRules): void {
    const { policies, replaced } = this.#opened;
    const { engine } = policies.reload();
    this.#authorizer.replace(rules, replaced.engine?.(engine) ?? engine);
    this.#rules = rules;
    this.#recordPolicies();
  }

  async stop(): Promise<void> {
    const { config, hardware, logger, logs, state } = this.#opened;
    this.#draining = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#sockets.drain(config.drainMs);
    await this.#decisionPoint?.close();
    await this.#rooms.stop();
    await this.#issuance?.stop();
    this.#audit.end();
    await endEvidenceLogs(logs, logger);
    await this.#keyQueue.close();
    await closeHardware(hardware);
    state.close();
  }

  /** Decisions name the version; this says which set that was. */
  #recordPolicies(): void {
    const { logs, policies } = this.#opened;
    const { files, observed, set } = policies.loaded;
    logs.audit.append({
      at: logs.audit.now(),
      kind: 'event',
      event: 'policy-loaded',
      detail: {
        version: this.#authorizer.policyVersion,
        fingerprint: set.fingerprint,
        files: files.length,
        policies: set.policies.length,
        observed: observed.length,
      },
    });
  }

  #gate() {
    return { authorizer: this.#authorizer, recorder: this.#recorder };
  }

  #every(intervalMs: number, failure: string, work: () => Promise<void>): void {
    const { logger } = this.#opened;
    const timer = setInterval(() => {
      work().catch((thrown: unknown) => {
        logger.warn({ error: asKeydError(thrown) }, `${failure}; it is tried again`);
      });
    }, intervalMs);
    this.#timers.push(timer.unref());
  }

  #composeDraftSources(): DraftContextSources {
    return {
      identity: () => this.#issuance?.identity(),
      credentials: (agent) => this.#credentials.forSigning(agent),
      chain: (agent) => this.#chains.presented(agent),
      issuerAuthorities: () => issuerAuthorities(this.#opened.config, this.#issuance),
      personServers: this.#opened.config.personServers,
      subAgentTokens: (agent) => subAgentTokens(this.#opened.state, this.#credentials, agent),
      deadlineMs: this.#opened.config.queue.deadlineMs,
      now: Date.now,
      randomOctets: pooledRandomOctets(),
    };
  }

  #draft(agent: Agent): DraftContext {
    return draftContext(this.#draftSources, agent);
  }

  #composeDelegationRooms(): DelegationRooms {
    const { logger, logs, state } = this.#opened;
    return composeDelegations({
      ...this.#gate(),
      agents: state.agents,
      delegations: state.delegations,
      chains: this.#chains,
      ledger: logs.ledger,
      status: this.#status,
      hardware: this.#backends,
      signer: this.#signer,
      draftContext: (agent) => this.#draft(agent),
      retired: (agent) => {
        this.#retired(agent);
      },
      log: logger.child({ room: 'delegation' }),
    });
  }

  #hooks(): AgentHooks {
    return {
      created: ({ name }) => {
        this.#issuance?.wake();
        this.#inBackground(this.#sockets.opened(name));
      },
      rotated: () => {
        this.#issuance?.wake();
      },
      retired: (agent) => {
        this.#retired(agent);
      },
    };
  }

  #retired({ id, name }: Agent): void {
    this.#issuance?.forget(id);
    this.#opened.logs.usage.forget(id);
    this.#delegations.ended(id);
    this.#inBackground(this.#sockets.removed(name));
  }

  #inBackground(work: Promise<void>): void {
    work.catch((thrown: unknown) => {
      this.#opened.logger.error({ error: asKeydError(thrown) }, 'an agent socket could not be changed');
    });
  }
}
