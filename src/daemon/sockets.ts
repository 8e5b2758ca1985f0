/** The daemon's listening sockets: shared, admin, and one for each agent that gets one. */
import type { Logger } from '../base/logger.ts';
import type { Caller, Ingress } from '../caller/caller.ts';
import { CallerIdentifier } from '../caller/identify.ts';
import { readPeer } from '../caller/peer-credentials.ts';
import { Admission } from '../socket/admission.ts';
import { AgentSockets } from '../socket/agent-sockets.ts';
import { Idempotency, type IdempotencyStore } from '../socket/idempotency.ts';
import type { ListenAddress } from '../socket/listener.ts';
import { SocketMetrics } from '../socket/metrics.ts';
import { watchQueues, type WatchedQueue } from '../socket/queue-metrics.ts';
import { agentRoutes } from '../socket/routes/agents.ts';
import { approvalRoutes } from '../socket/routes/approvals.ts';
import { auditRoutes } from '../socket/routes/audit.ts';
import { budgetRoutes } from '../socket/routes/budget.ts';
import { delegationRoutes } from '../socket/routes/delegations.ts';
import { policyRoutes } from '../socket/routes/policy.ts';
import { credentialRoutes } from '../socket/routes/credentials.ts';
import { hostRoutes } from '../socket/routes/host.ts';
import { signingRoutes } from '../socket/routes/signing.ts';
import type {
  AgentApi,
  ApprovalApi,
  AuditApi,
  BudgetApi,
  CredentialApi,
  DelegationApi,
  HostApi,
  PolicyApi,
  SigningApi,
} from '../socket/services.ts';
import { SocketServer } from '../socket/socket-server.ts';
import { matchesNamePattern, parseAgentName } from '../wire/agent-name.ts';
import { KeydError } from '../wire/problem.ts';
import type { DaemonConfig } from './config.ts';

export interface SocketServices {
  readonly agents: AgentApi;
  readonly signing: SigningApi;
  readonly credentials: CredentialApi;
  readonly delegations: DelegationApi;
  readonly approvals: ApprovalApi;
  readonly budget: BudgetApi;
  readonly policy: PolicyApi;
  readonly audit: AuditApi;
  readonly host: HostApi;
}

export interface DaemonSocketsOptions {
  readonly config: DaemonConfig;
  readonly services: SocketServices;
  readonly idempotency: IdempotencyStore;
  /** Shown in the metrics. */
  readonly queues: readonly WatchedQueue[];
  /** Whether the caller has any role: without one, the admin socket says nothing. */
  readonly hasRole: (caller: Caller) => boolean;
  readonly isDraining: () => boolean;
  readonly metrics: SocketMetrics;
  readonly logger: Logger;
}

const MAX_IDEMPOTENCY_ROWS_PER_CALLER = 1_000;

export class DaemonSockets {
  readonly #options: DaemonSocketsOptions;
  readonly #shared: SocketServer;
  readonly #admin: SocketServer;
  readonly #agents: AgentSockets | undefined;

  constructor(options: DaemonSocketsOptions) {
    this.#options = options;
    const make = serverMaker(options);
    this.#shared = make({ kind: 'shared' });
    this.#admin = make({ kind: 'admin' });
    const { agentSockets } = options.config;
    this.#agents =
      agentSockets === undefined
        ? undefined
        : new AgentSockets({
            directory: agentSockets.directory,
            mode: agentSockets.mode,
            gid: agentSockets.gid,
            wants: (name) =>
              agentSockets.agents.some((pattern) => matchesNamePattern(pattern, parseAgentName(name))),
            makeServer: (agentName) => make({ kind: 'agent', agentName }),
            logger: options.logger,
          });
  }

  /** Listens; `handedOver` are the sockets that systemd made, by name. @throws KeydError `conflict`, `configuration_invalid` */
  async listen(handedOver: ReadonlyMap<string, ListenAddress>, agentNames: readonly string[]): Promise<void> {
    const { config } = this.#options;
    await this.#admin.listen(handedOver.get('admin') ?? config.admin);
    await this.#agents?.openAll(agentNames);
    await this.#shared.listen(handedOver.get('shared') ?? config.shared);
  }

  /** A new agent may get a socket. */
  async opened(agentName: string): Promise<void> {
    await this.#agents?.open(agentName);
  }

  /** A retired agent's socket goes. */
  async removed(agentName: string): Promise<void> {
    await this.#agents?.remove(agentName);
  }

  /** Stops accepting and resolves when everything under way is answered, or cut after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    const cut = setTimeout(() => {
      this.#options.logger.warn({ graceMs }, 'requests were still under way and are cut');
      this.#shared.closeAllConnections();
      this.#admin.closeAllConnections();
      this.#agents?.closeAllConnections();
    }, graceMs);
    await Promise.all([this.#shared.drain(), this.#admin.drain(), this.#agents?.drain()]);
    clearTimeout(cut);
  }
}

function serverMaker(options: DaemonSocketsOptions): (ingress: Ingress) => SocketServer {
  const { config, services, isDraining, logger, hasRole, metrics } = options;
  watchQueues(metrics.registry, options.queues);
  const routes = [
    // First, because routes are tried in turn, and nearly all requests are for a signature.
    ...signingRoutes(services.signing),
    ...agentRoutes(services.agents),
    ...credentialRoutes(services.credentials),
    ...delegationRoutes(services.delegations),
    ...approvalRoutes(services.approvals),
    ...budgetRoutes(services.budget),
    ...policyRoutes(services.policy),
    ...auditRoutes(services.audit),
    ...hostRoutes(services.host, metrics),
  ];
  // One for all sockets: a caller's share does not grow with the sockets it finds (S20).
  const shared = {
    routes,
    limits: config.limits,
    admission: new Admission(config.limits.share),
    idempotency: new Idempotency({
      store: options.idempotency,
      maxRowsPerCaller: MAX_IDEMPOTENCY_ROWS_PER_CALLER,
      now: Date.now,
    }),
    metrics,
    isDraining,
    identifier: new CallerIdentifier({
      readPeer,
      admittedUids: config.foreignUids,
    }),
  };
  return (ingress) =>
    new SocketServer({
      ...shared,
      ingress,
      logger: logger.child({ room: 'socket' }),
      admit: (caller) => {
        if (ingress.kind === 'admin' && !hasRole(caller)) throw noRole(caller);
      },
    });
}

function noRole({ uid }: Caller): KeydError {
  return new KeydError('policy_denied', `uid ${uid} has no role on the admin socket`);
}
