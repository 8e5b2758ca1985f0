/** The composition root: the one place where the rooms are wired to one another. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { FairQueue } from '../base/fair-queue.ts';
import type { Logger } from '../base/logger.ts';
import { IssuanceService } from '../issuance/issuance-service.ts';
import { Authorizer } from '../policy/authorize.ts';
import type { ApprovedNames } from '../policy/judge.ts';
import { logRecorder } from '../policy/log-recorder.ts';
import type { PolicyRules } from '../policy/rules.ts';
import { AgentService, type AgentHooks } from '../signing/agent-service.ts';
import { buildAgentCsr } from '../signing/certification-request.ts';
import { Hardware } from '../signing/hardware.ts';
import { KeyMaker } from '../signing/key-maker.ts';
import { Signer } from '../signing/signer.ts';
import { SigningService } from '../signing/signing-service.ts';
import type { ListenAddress } from '../socket/listener.ts';
import { CREDENTIAL_KINDS } from '../wire/issuance/issue.ts';
import { asKeydError } from '../wire/problem.ts';
import { readSecret, readSecretText } from './config-host.ts';
import type { DaemonConfig } from './config.ts';
import { CredentialService } from './credential-service.ts';
import { openHardware, type OpenHardware } from './hardware.ts';
import { HostService } from './host-service.ts';
import { queuedAttester, queuedBackend } from './queued-backend.ts';
import { DaemonSockets } from './sockets.ts';
import { openState, type DaemonState } from './state/state.ts';

export interface Daemon {
  /** Listens and begins to keep credentials fresh. @throws KeydError `conflict`, `configuration_invalid` */
  start(handedOver: ReadonlyMap<string, ListenAddress>): Promise<void>;
  /** Puts other policy rules in force. */
  replaceRules(rules: PolicyRules): void;
  /** Answers what is under way, then lets go of hardware and state. */
  stop(): Promise<void>;
}

/** Making a key is rated apart from signing and happens one at a time (S20). */
const KEY_GENERATION_QUEUE = {
  name: 'key generation',
  concurrency: 1,
  maxWaitingPerShare: 4,
  maxWaiting: 64,
  reservedWaiting: 4,
  expectedServiceMs: 500,
} as const;

/** @throws KeydError `conflict`, `state_newer`, `configuration_invalid` */
export async function composeDaemon(config: DaemonConfig, version: string, logger: Logger): Promise<Daemon> {
  const state = openState(config.stateDirectory);
  try {
    const hardware = await openHardware(config, state, readSecret(config.secret.path), logger);
    return new ComposedDaemon(config, version, logger, state, hardware);
  } catch (thrown) {
    state.close();
    throw thrown;
  }
}

class ComposedDaemon implements Daemon {
  readonly #config: DaemonConfig;
  readonly #logger: Logger;
  readonly #state: DaemonState;
  readonly #hardware: OpenHardware;
  readonly #keyQueue = new FairQueue(KEY_GENERATION_QUEUE);
  readonly #issuance: IssuanceService | undefined;
  readonly #authorizer: Authorizer;
  readonly #sockets: DaemonSockets;
  #operators: PolicyRules['operators'];
  #draining = false;

  constructor(
    config: DaemonConfig,
    version: string,
    logger: Logger,
    state: DaemonState,
    hardware: OpenHardware,
  ) {
    this.#config = config;
    this.#logger = logger;
    this.#state = state;
    this.#hardware = hardware;
    this.#issuance = this.#composeIssuance();
    this.#operators = config.policy.operators;
    this.#authorizer = new Authorizer({ rules: config.policy, approvedNames: () => this.#approvedNames() });
    this.#sockets = this.#composeSockets(version);
  }

  async start(handedOver: ReadonlyMap<string, ListenAddress>): Promise<void> {
    const { agents } = this.#state;
    const interrupted = agents.releaseInterrupted();
    if (interrupted.length > 0) {
      this.#logger.warn({ names: interrupted }, 'creations that a crash interrupted gave their names back');
    }
    await this.#sockets.listen(
      handedOver,
      agents.list().map(({ name }) => name),
    );
    this.#issuance?.start();
  }

  replaceRules(rules: PolicyRules): void {
    this.#authorizer.replace(rules);
    this.#operators = rules.operators;
  }

  async stop(): Promise<void> {
    this.#draining = true;
    await this.#sockets.drain(this.#config.drainMs);
    await this.#issuance?.stop();
    const { lanes } = this.#hardware;
    await Promise.all([this.#keyQueue.close(), ...lanes.map(({ queue }) => queue.close())]);
    await Promise.all(lanes.map(({ backend }) => backend.close()));
    this.#state.close();
  }

  #composeIssuance(): IssuanceService | undefined {
    const { issuer } = this.#config;
    const { lanes, tpm } = this.#hardware;
    if (issuer === undefined || tpm === undefined) return undefined;
    const backends = new Map(lanes.map((lane) => [lane.backend.kind, queuedBackend(lane)]));
    const hardware = new Hardware(lanes);
    return new IssuanceService({
      config: {
        endpoint: {
          url: issuer.url,
          ca: issuer.caFile === undefined ? undefined : readFileSync(issuer.caFile, 'utf8'),
          timeoutMs: issuer.timeoutMs,
        },
        channelBinding: issuer.channelBinding,
        challengeKeyThumbprint: issuer.challengeKeyThumbprint,
        enrolmentToken:
          issuer.enrolmentToken === undefined
            ? undefined
            : readSecretText(issuer.enrolmentToken.path).toString(),
        ttlSeconds: issuer.ttlSeconds,
      },
      store: this.#state.issuance,
      tpm: { ...queuedBackend(tpm.lane), attester: queuedAttester(tpm.lane, tpm.attester) },
      // `lane` names what is missing, should an agent's backend have left the configuration.
      backend: (kind) => backends.get(kind) ?? hardware.lane(kind).backend,
      agents: () => this.#state.agents.list(),
      buildCsr: buildAgentCsr,
      credentialKinds: ({ name }) => (this.#authorizer.mayRawSign(name) ? ['x509'] : CREDENTIAL_KINDS),
      logger: this.#logger.child({ room: 'issuance' }),
    });
  }

  #composeSockets(version: string): DaemonSockets {
    const { agents, keyBlobs, idempotency } = this.#state;
    const { lanes, tpm } = this.#hardware;
    const { deadlineMs } = this.#config.queue;
    const authorizer = this.#authorizer;
    const issuance = this.#issuance;
    const log = this.#logger.child({ room: 'signing' });
    const recorder = logRecorder(this.#logger.child({ room: 'policy' }));
    const gate = { authorizer, recorder };
    const hardware = new Hardware(lanes);
    const identity = () => issuance?.identity();
    const credentials = new CredentialService({ ...gate, agents, issuance });
    const common = { ...gate, agents, identity, now: Date.now };
    return new DaemonSockets({
      config: this.#config,
      services: {
        agents: new AgentService({
          ...common,
          hardware,
          keys: new KeyMaker({ hardware, queue: this.#keyQueue, deadlineMs, log }),
          blobs: keyBlobs,
          credentials: (agent) => credentials.forSigning(agent),
          hooks: this.#hooks(),
          maxAgentsPerOwner: this.#config.agentsPerCaller,
          log,
        }),
        signing: new SigningService({
          ...common,
          signer: new Signer({ authorizer, agents, hardware, now: Date.now }),
          credentials: (agent) => credentials.forSigning(agent),
          issuerAuthorities: () => this.#issuerAuthorities(),
          deadlineMs,
          randomOctets: (count) => randomBytes(count),
        }),
        credentials,
        host: new HostService({
          ...gate,
          version,
          agents,
          lanes,
          attester: tpm === undefined ? undefined : queuedAttester(tpm.lane, tpm.attester),
          adoptTpm: tpm?.adopt,
          issuance,
          issuerUrl: this.#config.issuer?.url,
          isDraining: () => this.#draining,
          logger: this.#logger,
        }),
      },
      idempotency,
      operators: () => this.#operators,
      isDraining: () => this.#draining,
      logger: this.#logger,
    });
  }

  #hooks(): AgentHooks {
    const inBackground = (work: Promise<void>): void => {
      work.catch((thrown: unknown) => {
        this.#logger.error({ error: asKeydError(thrown) }, 'an agent socket could not be changed');
      });
    };
    return {
      created: ({ name }) => {
        this.#issuance?.wake();
        inBackground(this.#sockets.opened(name));
      },
      rotated: () => {
        this.#issuance?.wake();
      },
      retired: ({ id, name }) => {
        this.#issuance?.forget(id);
        inBackground(this.#sockets.removed(name));
      },
    };
  }

  #approvedNames(): ApprovedNames {
    if (this.#config.issuer === undefined) return { state: 'local' };
    const identity = this.#issuance?.identity();
    return identity === undefined
      ? { state: 'pending' }
      : { state: 'approved', patterns: identity.namePatterns };
  }

  /** Where the issuer is, by configuration and by its own word: agents sign nothing for either (S1). */
  #issuerAuthorities(): readonly string[] {
    const { issuer } = this.#config;
    const known = this.#issuance?.host()?.issuer.issuer;
    return [issuer?.url, known].flatMap((url) =>
      url !== undefined && URL.canParse(url) ? [new URL(url).host] : [],
    );
  }
}
