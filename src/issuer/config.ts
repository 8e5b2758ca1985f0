/** issuer.toml: every key, its shape and its default. systemd/issuer.toml is the commented reference. */
import { readTomlConfig } from '../base/toml-config.ts';
import { LOG_LEVELS, type LogLevel } from '../base/logger.ts';
import {
  array,
  boolean,
  integer,
  object,
  oneOf,
  optional,
  refine,
  text,
  type Infer,
  type Shape,
} from '../wire/check.ts';
import { CHANNEL_BINDINGS, type ChannelBinding } from '../wire/issuance/challenge.ts';
import { KeydError } from '../wire/problem.ts';
import { parseTargetUri } from '../wire/target-uri.ts';

/** Named by credentials and Attestation Results: checks 1 to 22 and 27 of docs/protocol.md. */
const DEFAULT_APPRAISAL_POLICY = 'urn:agentkeyd:appraisal:1';

const path = text({ maxLength: 4096, pattern: /^\/[^\0]*$/, what: 'an absolute path' });
const credentialName = text({
  maxLength: 255,
  pattern: /^[A-Za-z0-9._-]+$/,
  what: 'a systemd credential name',
});
const vendorId = text({
  maxLength: 11,
  pattern: /^id:[0-9A-F]{8}$/,
  what: 'a TCG vendor id such as id:49465800',
});
const tpmModel = text({ maxLength: 64 });
const domain = text({
  maxLength: 253,
  pattern: /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/,
  what: 'a domain name in lower case',
});

const secretSource = refine(
  object({ file: optional(path), credential: optional(credentialName) }),
  ({ file, credential }) =>
    (file === undefined) === (credential === undefined)
      ? 'needs exactly one of file and credential'
      : undefined,
);
/** Where a secret is read from: a file, or a systemd credential by name. */
export type SecretSource = Infer<typeof secretSource>;

const configFile = object({
  issuer: origin({ port: false }),
  url: origin({ port: true }),
  trust_domain: domain,
  aauth_domain: domain,
  channel_binding: oneOf(CHANNEL_BINDINGS),
  state_directory: path,
  hosts_file: path,
  development_grants: optional(boolean),
  log_level: optional(oneOf(LOG_LEVELS)),
  listen: object({ address: text({ maxLength: 255 }), port: integer({ min: 0, max: 65_535 }) }),
  tls: object({ certificate_file: path, key: secretSource }),
  keys: object({
    module: path,
    token_label: text({ maxLength: 32 }),
    pin: secretSource,
    /** Environment of the module host process, for modules that are configured by it. */
    softhsm2_conf: optional(path),
  }),
  lifetimes: optional(
    object({
      standing_seconds: optional(integer({ min: 120, max: 86_400 })),
      reattest_seconds: optional(integer({ min: 60, max: 43_200 })),
      // WIT and agent token live at most an hour.
      credential_seconds: optional(integer({ min: 60, max: 3_600 })),
    }),
  ),
  limits: optional(
    object({
      enrolments_per_network_per_minute: optional(integer({ min: 1, max: 100_000 })),
      requests_per_host_per_minute: optional(integer({ min: 1, max: 1_000_000 })),
      issuances_per_host_per_minute: optional(integer({ min: 1, max: 1_000_000 })),
      connections: optional(integer({ min: 1, max: 100_000 })),
      body_seconds: optional(integer({ min: 1, max: 60 })),
      connections_per_network: optional(integer({ min: 1, max: 100_000 })),
    }),
  ),
  appraisal: object({
    policy: optional(text({ maxLength: 128, pattern: /^urn:[\x21-\x7e]+$/, what: 'a URN' })),
    roots_file: optional(path),
    intermediates_file: optional(path),
    revocation_list_files: optional(array(path, { max: 64 })),
    expired_ek_certificate: oneOf(['accept', 'refuse']),
    cleared_tpm: oneOf(['accept', 'refuse']),
    minimum_tpm_revision: optional(integer({ min: 0, max: 65_535 })),
    key_types: optional(array(oneOf(['P-256', 'P-384', 'RSA-2048', 'RSA-3072']), { min: 1, max: 4 })),
    denied_models: optional(
      array(
        object({
          manufacturer: vendorId,
          model: optional(tpmModel),
          version: optional(tpmModel),
          reason: text({ maxLength: 256 }),
        }),
        { max: 256 },
      ),
    ),
    firmware_floors: optional(
      array(
        object({
          manufacturer: vendorId,
          model: optional(tpmModel),
          minimum: text({ maxLength: 18, pattern: /^0x[0-9a-f]{1,16}$/, what: 'hexadecimal such as 0x1' }),
        }),
        { max: 256 },
      ),
    ),
  }),
  development_policy: optional(
    refine(
      object({
        name: text({ maxLength: 128, pattern: /^[A-Za-z0-9][A-Za-z0-9 ._-]*$/, what: 'a plain name' }),
        accept_software: boolean,
        test_roots_file: optional(path),
      }),
      ({ accept_software }) =>
        accept_software ? undefined : 'has accept_software = false: leave the section out instead',
    ),
  ),
});

type ConfigFile = Infer<typeof configFile>;

export interface IssuerConfig {
  /** `iss` of everything signed: an https origin without a port. */
  readonly issuer: string;
  /** Where hosts reach the issuer; `@target-uri` of their signatures starts with it. */
  readonly url: string;
  readonly trustDomain: string;
  readonly aauthDomain: string;
  readonly channelBinding: ChannelBinding;
  readonly stateDirectory: string;
  readonly hostsFile: string;
  /** Whether an operator's record is enough for a grant, and no person approves it with a passkey. */
  readonly developmentGrants: boolean;
  readonly logLevel: LogLevel;
  readonly listen: ConfigFile['listen'];
  readonly tls: { readonly certificateFile: string; readonly key: SecretSource };
  readonly keys: {
    readonly module: string;
    readonly tokenLabel: string;
    readonly pin: SecretSource;
    readonly softhsm2Conf: string | undefined;
  };
  readonly lifetimes: Lifetimes;
  readonly limits: Limits;
  readonly appraisal: ConfigFile['appraisal'] & { readonly policy: string };
  readonly developmentPolicy:
    { readonly name: string; readonly testRootsFile: string | undefined } | undefined;
}

export interface Lifetimes {
  readonly standingSeconds: number;
  readonly reattestSeconds: number;
  /** Longest life of a credential; a host's record can only lower it. */
  readonly credentialSeconds: number;
}

export interface Limits {
  readonly enrolmentsPerNetworkPerMinute: number;
  readonly requestsPerHostPerMinute: number;
  readonly issuancesPerHostPerMinute: number;
  readonly connections: number;
  /** Time for a body to arrive. */
  readonly bodySeconds: number;
  readonly connectionsPerNetwork: number;
}

/** @throws KeydError `configuration_invalid` with every fault */
export function readIssuerConfig(file: string): IssuerConfig {
  const given = readTomlConfig(file, configFile);
  const { lifetimes = {}, limits = {}, development_policy: development } = given;
  return {
    issuer: given.issuer,
    url: given.url,
    trustDomain: given.trust_domain,
    aauthDomain: given.aauth_domain,
    channelBinding: given.channel_binding,
    stateDirectory: given.state_directory,
    hostsFile: given.hosts_file,
    developmentGrants: given.development_grants ?? false,
    logLevel: given.log_level ?? 'info',
    listen: given.listen,
    tls: { certificateFile: given.tls.certificate_file, key: given.tls.key },
    keys: {
      module: given.keys.module,
      tokenLabel: given.keys.token_label,
      pin: given.keys.pin,
      softhsm2Conf: given.keys.softhsm2_conf,
    },
    lifetimes: {
      standingSeconds: lifetimes.standing_seconds ?? 3600,
      reattestSeconds: lifetimes.reattest_seconds ?? 600,
      credentialSeconds: lifetimes.credential_seconds ?? 3600,
    },
    limits: {
      enrolmentsPerNetworkPerMinute: limits.enrolments_per_network_per_minute ?? 30,
      requestsPerHostPerMinute: limits.requests_per_host_per_minute ?? 600,
      issuancesPerHostPerMinute: limits.issuances_per_host_per_minute ?? 120,
      connections: limits.connections ?? 2000,
      bodySeconds: limits.body_seconds ?? 10,
      connectionsPerNetwork: limits.connections_per_network ?? 200,
    },
    appraisal: { ...given.appraisal, policy: given.appraisal.policy ?? DEFAULT_APPRAISAL_POLICY },
    developmentPolicy:
      development === undefined
        ? undefined
        : { name: development.name, testRootsFile: development.test_roots_file },
  };
}

/** An https origin in canonical form, without a path. */
function origin(options: { readonly port: boolean }): Shape<string> {
  return refine(text({ maxLength: 300 }), (value) => {
    try {
      const target = parseTargetUri(`${value}/`);
      if (target.scheme !== 'https' || target.origin !== value) return 'must be https://host without a path';
      if (!options.port && target.authority !== target.host) return 'is an identifier and has no port';
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof KeydError)) throw thrown;
      return `must be https://host without a path (${thrown.message})`;
    }
  });
}
