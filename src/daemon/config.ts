/** The daemon's configuration: file, then environment, then flags; the later wins. */
import { existsSync } from 'node:fs';
import type { LogLevel } from '../base/logger.ts';
import { readTomlConfig, parseTomlConfig } from '../base/toml-config.ts';
import { policyRules, type PolicyRules } from '../policy/rules.ts';
import { DEFAULT_LIMITS, type SocketLimits } from '../socket/limits.ts';
import type { ListenAddress } from '../socket/listener.ts';
import type { ChannelBinding } from '../wire/issuance/challenge.ts';
import { KeydError } from '../wire/problem.ts';
import { localHost, type ConfigHost, type SecretSource } from './config-host.ts';
import { configShape, issuerUrlFault, type ConfigFile } from './config-shape.ts';
import { decisionPointConfig, type DecisionPointConfig } from './decision-point-config.ts';
import type { Flags } from './flags.ts';

export const DEFAULT_CONFIG_FILE = '/etc/agentkeyd/agentkeyd.toml';
const DEFAULT_STATE_DIRECTORY = '/var/lib/agentkeyd';
const DEFAULT_SHARED_SOCKET = '/run/agentkeyd/agentkeyd.sock';
const DEFAULT_ADMIN_SOCKET = '/run/agentkeyd-admin/agentkeyd.sock';
const DEFAULT_SOCKET_MODE = '0660';
/** Among the owner's, and of no known program. */
const DEFAULT_COUNTER_INDEX = 0x0180_a6e7;

export interface DaemonConfig {
  readonly file: string;
  readonly stateDirectory: string;
  readonly shared: Extract<ListenAddress, { path: string }>;
  readonly admin: Extract<ListenAddress, { path: string }>;
  readonly agentSockets: AgentSocketsConfig | undefined;
  readonly secret: SecretSource;
  readonly logLevel: LogLevel;
  readonly foreignUids: readonly number[];
  readonly limits: SocketLimits;
  readonly queue: QueueConfig;
  readonly agentsPerCaller: number;
  readonly drainMs: number;
  readonly tpm: NonNullable<ConfigFile['tpm']> | undefined;
  readonly pkcs11: NonNullable<ConfigFile['pkcs11']> | undefined;
  readonly issuer: IssuerConfig | undefined;
  /** The host's own rules. */
  readonly policy: PolicyRules;
  readonly policySet: PolicySetConfig;
  readonly approvals: { readonly expiryMs: number; readonly perCaller: number };
  readonly ledger: {
    /** Smallest parts a crash may cost at most, by unit. */
    readonly leases: ReadonlyMap<string, bigint>;
    /** NV index of the counter under it; undefined without one. */
    readonly nvIndex: number | undefined;
  };
  readonly audit: {
    readonly checkpointMs: number;
    readonly reserveOctets: number;
    readonly denialsPerMinute: number;
  };
  /** Origins of AAuth person servers. */
  readonly personServers: readonly string[];
  /** Servers whose signed answers may lower a cost. */
  readonly resources: readonly { readonly origin: string; readonly keyFile: string }[];
}

export interface PolicySetConfig {
  /** Undefined: the set that is shipped. */
  readonly directory: string | undefined;
  readonly observeDirectory: string | undefined;
  readonly decisionPoint: DecisionPointConfig | undefined;
}

export interface AgentSocketsConfig {
  readonly directory: string;
  readonly mode: number;
  readonly gid: number | undefined;
  /** Name patterns of agents that get one. */
  readonly agents: readonly string[];
}

export interface QueueConfig {
  readonly perShare: number;
  readonly total: number;
  readonly deadlineMs: number;
}

export interface IssuerConfig {
  readonly url: string;
  readonly caFile: string | undefined;
  readonly channelBinding: ChannelBinding;
  readonly challengeKeyThumbprint: string | undefined;
  readonly enrolmentToken: SecretSource | undefined;
  readonly ttlSeconds: number;
  readonly timeoutMs: number;
}

/** @throws KeydError `configuration_invalid` with every fault of file, environment and flags */
export function loadConfig(
  flags: Flags,
  env: NodeJS.ProcessEnv,
  host: ConfigHost = localHost(env),
): DaemonConfig {
  const file = flags.config ?? env['AGENTKEYD_CONFIG'] ?? DEFAULT_CONFIG_FILE;
  const explicit = flags.config !== undefined || env['AGENTKEYD_CONFIG'] !== undefined;
  const faults: string[] = [];
  const given = collect(faults, () => readFile(file, explicit, host));
  const overrides = readOverrides(flags, env, faults);
  if (given !== undefined) checkWhole(file, given, overrides, faults);
  if (given === undefined || faults.length > 0) {
    throw new KeydError('configuration_invalid', faults.join('\n'), { faults });
  }
  return assemble(file, given, overrides, host, env);
}

function readFile(file: string, explicit: boolean, host: ConfigHost): ConfigFile {
  const shape = configShape(host);
  if (!explicit && !existsSync(file)) return parseTomlConfig('', `${file} (which does not exist)`, shape);
  return readTomlConfig(file, shape);
}

interface Overrides {
  readonly shared: string | undefined;
  readonly admin: string | undefined;
  readonly stateDirectory: string | undefined;
  readonly tcti: string | undefined;
  readonly issuerUrl: string | undefined;
  readonly caFile: string | undefined;
  readonly logLevel: LogLevel | undefined;
}

function readOverrides(flags: Flags, env: NodeJS.ProcessEnv, faults: string[]): Overrides {
  const issuerUrl = flags.issuerUrl ?? env['AGENTKEY_ISSUER_URL'];
  const wrong = issuerUrl === undefined ? undefined : issuerUrlFault(issuerUrl);
  if (wrong !== undefined) faults.push(`--issuer-url or AGENTKEY_ISSUER_URL ${wrong}`);
  return {
    shared: flags.socket ?? env['AGENTKEYD_SOCKET'],
    admin: flags.adminSocket ?? env['AGENTKEYD_ADMIN_SOCKET'],
    stateDirectory: flags.stateDirectory ?? env['AGENTKEYD_STATE_DIRECTORY'],
    tcti: flags.tcti ?? env['AGENTKEYD_TCTI'],
    issuerUrl,
    caFile: flags.caFile ?? env['AGENTKEY_ISSUER_CA'],
    logLevel: flags.logLevel,
  };
}

/** Faults that no single section shows. */
function checkWhole(file: string, given: ConfigFile, overrides: Overrides, faults: string[]): void {
  if (given.tpm === undefined && given.pkcs11 === undefined && overrides.tcti === undefined) {
    faults.push(`${file}: has neither [tpm] nor [pkcs11]; keys need at least one of them`);
  }
  const issuer = given.issuer?.url ?? overrides.issuerUrl;
  if (issuer !== undefined && given.tpm === undefined && overrides.tcti === undefined) {
    faults.push(`${file}: [issuer] needs [tpm]; a host without a TPM is registered by its operator instead`);
  }
  const { agents, agents_directory: directory } = given.sockets ?? {};
  if ((agents === undefined) !== (directory === undefined)) {
    faults.push(`${file}: sockets.agents and sockets.agents_directory come together`);
  }
}

function assemble(
  file: string,
  given: ConfigFile,
  overrides: Overrides,
  host: ConfigHost,
  env: NodeJS.ProcessEnv,
): DaemonConfig {
  const { sockets = {}, limits = {} } = given;
  // STATE_DIRECTORY is what systemd made for StateDirectory=.
  const stateDirectory =
    overrides.stateDirectory ?? given.state?.directory ?? env['STATE_DIRECTORY'] ?? DEFAULT_STATE_DIRECTORY;
  const address = (
    path: string,
    mode: string | undefined,
    group: string | undefined,
  ): Extract<ListenAddress, { path: string }> => {
    const gid = group === undefined ? undefined : host.groupId(group);
    return {
      path,
      mode: Number.parseInt(mode ?? DEFAULT_SOCKET_MODE, 8),
      ...(gid === undefined ? {} : { gid }),
    };
  };
  return {
    file,
    stateDirectory,
    shared: address(
      overrides.shared ?? sockets.shared ?? DEFAULT_SHARED_SOCKET,
      sockets.shared_mode,
      sockets.shared_group,
    ),
    admin: address(
      overrides.admin ?? sockets.admin ?? DEFAULT_ADMIN_SOCKET,
      sockets.admin_mode,
      sockets.admin_group,
    ),
    agentSockets: agentSockets(sockets, host),
    secret: given.secret,
    logLevel: overrides.logLevel ?? given.log?.level ?? 'info',
    foreignUids: given.callers?.foreign_uids ?? [],
    limits: {
      ...DEFAULT_LIMITS,
      share: {
        ...DEFAULT_LIMITS.share,
        maxConnections: limits.connections_per_caller ?? DEFAULT_LIMITS.share.maxConnections,
        maxRequests: limits.requests_per_caller ?? DEFAULT_LIMITS.share.maxRequests,
        maxRequestsBesideOthers:
          limits.requests_beside_others ?? DEFAULT_LIMITS.share.maxRequestsBesideOthers,
        maxOctets: limits.body_octets_per_caller ?? DEFAULT_LIMITS.share.maxOctets,
      },
    },
    queue: {
      perShare: limits.queue_per_caller ?? 128,
      total: limits.queue ?? 1024,
      deadlineMs: (limits.deadline_seconds ?? 30) * 1000,
    },
    agentsPerCaller: limits.agents_per_caller ?? 1000,
    drainMs: (limits.drain_seconds ?? 20) * 1000,
    tpm: overrides.tcti === undefined ? given.tpm : { ...given.tpm, tcti: overrides.tcti },
    pkcs11: given.pkcs11,
    issuer: issuer(given, overrides),
    policy: policyRules(given.policy),
    policySet: policySet(given),
    approvals: {
      expiryMs: (given.approvals?.expiry_seconds ?? 900) * 1000,
      perCaller: given.approvals?.per_caller ?? 32,
    },
    ledger: {
      nvIndex: counterIndex(given, overrides),
      leases: new Map(
        Object.entries(given.ledger?.lease ?? {}).map(([unit, lease]) => [unit, BigInt(lease)] as const),
      ),
    },
    audit: {
      checkpointMs: (given.audit?.checkpoint_seconds ?? 60) * 1000,
      reserveOctets: given.audit?.reserve_octets ?? 4_194_304,
      denialsPerMinute: given.audit?.denials_per_minute ?? 60,
    },
    personServers: given.aauth?.person_servers ?? [],
    resources: (given.resource ?? []).map(({ origin, key_file: keyFile }) => ({ origin, keyFile })),
  };
}

/** Wherever there is a TPM, unless said otherwise. */
function counterIndex({ ledger, tpm }: ConfigFile, overrides: Overrides): number | undefined {
  if (ledger?.counter === 'none' || (tpm === undefined && overrides.tcti === undefined)) return undefined;
  return tpm?.counter_index ?? DEFAULT_COUNTER_INDEX;
}

function policySet({ policy = {} }: ConfigFile): PolicySetConfig {
  const { directory, observe_directory: observeDirectory, decision_point: point } = policy;
  return {
    directory,
    observeDirectory,
    decisionPoint: point === undefined ? undefined : decisionPointConfig(point),
  };
}

function agentSockets(
  sockets: NonNullable<ConfigFile['sockets']>,
  host: ConfigHost,
): AgentSocketsConfig | undefined {
  const { agents, agents_directory: directory, agents_mode: mode, agents_group: group } = sockets;
  if (agents === undefined || directory === undefined) return undefined;
  return {
    directory,
    mode: Number.parseInt(mode ?? DEFAULT_SOCKET_MODE, 8),
    gid: group === undefined ? undefined : host.groupId(group),
    agents,
  };
}

function issuer(given: ConfigFile, overrides: Overrides): IssuerConfig | undefined {
  const url = overrides.issuerUrl ?? given.issuer?.url;
  if (url === undefined) return undefined;
  return {
    url,
    caFile: overrides.caFile ?? given.issuer?.ca_file,
    channelBinding: given.issuer?.channel_binding ?? 'exporter',
    challengeKeyThumbprint: given.issuer?.challenge_key,
    enrolmentToken: given.issuer?.enrolment_token,
    ttlSeconds: given.issuer?.ttl_seconds ?? 3600,
    timeoutMs: (given.issuer?.timeout_seconds ?? 30) * 1000,
  };
}

function collect<T>(faults: string[], read: () => T): T | undefined {
  try {
    return read();
  } catch (thrown) {
    if (!(thrown instanceof KeydError)) throw thrown;
    faults.push(...(thrown.faults ?? [thrown.message]));
    return undefined;
  }
}
