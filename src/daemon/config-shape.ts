/** The shape of agentkeyd.toml. docs/configuration.md and systemd/agentkeyd.toml say the same in words. */
import { isAbsolute } from 'node:path';
import { LOG_LEVELS } from '../base/logger.ts';
import { policySectionMembers } from '../policy/rules.ts';
import { isNamePattern } from '../wire/agent-name.ts';
import {
  array,
  boolean,
  dictionary,
  integer,
  object,
  oneOf,
  optional,
  refine,
  text,
  type Infer,
  type Shape,
} from '../wire/check.ts';
import { CHANNEL_BINDINGS } from '../wire/issuance/challenge.ts';
import { OWNER_INDICES } from '../wire/tpm/audit-counter.ts';
import { MAX_SOCKET_PATH_OCTETS } from '../socket/listener.ts';
import type { ConfigHost, SecretSource } from './config-host.ts';
import { decisionPointShape } from './decision-point-config.ts';

/** Key auths are derived from it (S15): `openssl rand 32`. */
const MIN_DAEMON_SECRET_OCTETS = 32;
const MAX_UID = 0xffff_fffe;

const absolutePath: Shape<string> = refine(text({ maxLength: 4096 }), (path) =>
  isAbsolute(path) ? undefined : 'must be an absolute path',
);

const socketPath: Shape<string> = refine(absolutePath, (path) =>
  Buffer.byteLength(path) <= MAX_SOCKET_PATH_OCTETS
    ? undefined
    : `is longer than a socket path can be (${MAX_SOCKET_PATH_OCTETS} octets)`,
);

const mode: Shape<string> = text({ maxLength: 4, pattern: /^0[0-7]{3}$/, what: 'a mode such as "0660"' });

const RSA_MODULUS_BITS = [2048, 3072] as const;

const rsaModulusBits: Shape<(typeof RSA_MODULUS_BITS)[number]> = (value, path, faults) => {
  const bits = RSA_MODULUS_BITS.find((known) => known === value);
  if (bits !== undefined) return bits;
  faults.push(`${path} must be one of ${RSA_MODULUS_BITS.join(', ')}`);
  return 3072;
};

const UNIT = /^[A-Za-z][A-Za-z0-9]{0,31}\.(?:[0-9]|1[0-5])$/;

const origin: Shape<string> = refine(text({ maxLength: 512 }), (given) =>
  URL.canParse(given) && new URL(given).origin === given
    ? undefined
    : 'is no origin such as https://api.example',
);

/** Sections of the file, every fault collected; `host` answers what only this machine knows. */
export function configShape(host: ConfigHost) {
  const group = refine(text({ maxLength: 64 }), (name) =>
    host.groupId(name) === undefined ? `names a group that this host does not have: ${name}` : undefined,
  );
  const readable = refine(absolutePath, (path) => host.fileFault(path));
  const secretSource =
    (minOctets: number): Shape<SecretSource> =>
    (value, path, faults) => {
      const before = faults.length;
      const given = object({
        credential: optional(text({ maxLength: 255, pattern: /^[A-Za-z0-9_.@-]+$/ })),
        file: optional(absolutePath),
      })(value, path, faults);
      if (faults.length > before) return { path: '' };
      const { credential, file } = given;
      const found = credential === undefined ? file : host.credentialPath(credential);
      if ((credential === undefined) === (file === undefined)) {
        faults.push(`${path} must have exactly one of credential and file`);
      } else if (found === undefined) {
        faults.push(
          `${path}.credential needs LoadCredential= of a systemd unit (CREDENTIALS_DIRECTORY is not set)`,
        );
      } else {
        const wrong = host.secretFault(found, credential !== undefined, minOctets);
        if (wrong !== undefined) faults.push(`${path} ${wrong}`);
      }
      return { path: found ?? '' };
    };
  return object({
    state: optional(object({ directory: optional(absolutePath) })),
    sockets: optional(
      object({
        shared: optional(socketPath),
        shared_mode: optional(mode),
        shared_group: optional(group),
        admin: optional(socketPath),
        admin_mode: optional(mode),
        admin_group: optional(group),
        /** Holds one directory per agent (DECISIONS 8); no agent sockets without it. */
        agents_directory: optional(absolutePath),
        agents_mode: optional(mode),
        agents_group: optional(group),
        /** Agents that get a socket of their own. */
        agents: optional(
          array(
            refine(text({ maxLength: 63 }), (pattern) =>
              isNamePattern(pattern) ? undefined : 'is no name pattern',
            ),
            { max: 256 },
          ),
        ),
      }),
    ),
    secret: secretSource(MIN_DAEMON_SECRET_OCTETS),
    log: optional(object({ level: optional(oneOf(LOG_LEVELS)) })),
    callers: optional(
      object({
        /** uids admitted from other user namespaces, or as overflow uid (S10). */
        foreign_uids: optional(array(integer({ min: 0, max: MAX_UID }), { max: 256 })),
      }),
    ),
    limits: optional(
      object({
        connections_per_caller: optional(integer({ min: 1, max: 65_536 })),
        requests_per_caller: optional(integer({ min: 1, max: 65_536 })),
        requests_beside_others: optional(integer({ min: 1, max: 65_536 })),
        body_octets_per_caller: optional(integer({ min: 65_536, max: 1_073_741_824 })),
        queue_per_caller: optional(integer({ min: 1, max: 65_536 })),
        queue: optional(integer({ min: 1, max: 65_536 })),
        agents_per_caller: optional(integer({ min: 1, max: 1_000_000 })),
        /** How long a request may wait for hardware, seconds. */
        deadline_seconds: optional(integer({ min: 1, max: 300 })),
        /** How long a stop waits for what is under way, seconds. */
        drain_seconds: optional(integer({ min: 0, max: 300 })),
      }),
    ),
    tpm: optional(
      object({
        tcti: text({ maxLength: 512, pattern: /^(device|swtpm|tabrmd|mssim)(:.*)?$/ }),
        allow_rsa: optional(boolean),
        /** How a key's auth reaches the TPM; see docs/decisions/0006. */
        session_protection: optional(oneOf(['salted', 'password'])),
        /** NV index of the counter under ledger and audit log, among the owner's. */
        counter_index: optional(integer({ min: OWNER_INDICES.first, max: OWNER_INDICES.last })),
        /** Have the TPM keep a digest over every TPM2_Sign; see docs/decisions/0041. */
        command_audit: optional(boolean),
        /** Other programs sign with this TPM too: what is not ours is then inconclusive, no finding (S16). */
        other_signers: optional(boolean),
      }),
    ),
    pkcs11: optional(
      refine(
        object({
          module: readable,
          token_label: optional(text({ maxLength: 32 })),
          token_serial: optional(text({ maxLength: 16 })),
          pin: secretSource(1),
          softhsm2_conf: optional(readable),
          processes: optional(integer({ min: 1, max: 64 })),
          rsa_modulus_bits: optional(rsaModulusBits),
          /** User and group of the module hosts. */
          user: optional(integer({ min: 1, max: MAX_UID })),
          group: optional(integer({ min: 1, max: MAX_UID })),
        }),
        ({ token_label, token_serial, user, group: gid }) => {
          if (token_label === undefined && token_serial === undefined) {
            return 'must name the token by token_label or token_serial';
          }
          return (user === undefined) === (gid === undefined)
            ? undefined
            : 'must have user and group, or neither';
        },
      ),
    ),
    issuer: optional(
      object({
        url: refine(text({ maxLength: 512 }), issuerUrlFault),
        ca_file: optional(readable),
        channel_binding: optional(oneOf(CHANNEL_BINDINGS)),
        /** RFC 7638 thumbprint of the issuer's challenge key; pinned on first use without it. */
        challenge_key: optional(text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ })),
        enrolment_token: optional(secretSource(1)),
        ttl_seconds: optional(integer({ min: 60, max: 86_400 })),
        timeout_seconds: optional(integer({ min: 1, max: 120 })),
      }),
    ),
    policy: optional(
      object({
        ...policySectionMembers,
        /** `*.cedar` files: all that is permitted. The set that is shipped where it is left out. */
        directory: optional(absolutePath),
        /** Candidate sets, one folder each: judged beside the set in force and never obeyed (S19). */
        observe_directory: optional(absolutePath),
        /** OpenID AuthZEN: both it and the policy set must permit. */
        decision_point: optional(decisionPointShape({ readable, socketPath, secret: secretSource(1) })),
      }),
    ),
    approvals: optional(
      object({
        /** How long a person has to decide, seconds. */
        expiry_seconds: optional(integer({ min: 10, max: 86_400 })),
        per_caller: optional(integer({ min: 1, max: 1024 })),
      }),
    ),
    ledger: optional(
      object({
        /** `none`: a restored copy of the state shows only to the issuer. */
        counter: optional(oneOf(['tpm', 'none'])),
        /** What a crash may cost at most, by unit: `"USD.2" = 5000`. 0 writes to the TPM at every reservation. */
        lease: optional(dictionary(UNIT, integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), { max: 64 })),
      }),
    ),
    audit: optional(
      object({
        /** Between checkpoints that have something new to say, seconds; each also writes the TPM's counter. */
        checkpoint_seconds: optional(integer({ min: 60, max: 86_400 })),
        /** Kept free for entries that must still be written when the disk is full. */
        reserve_octets: optional(integer({ min: 65_536, max: 1_073_741_824 })),
        /** Full denials of one caller a minute; more are counted only. */
        denials_per_minute: optional(integer({ min: 1, max: 100_000 })),
      }),
    ),
    aauth: optional(
      object({
        /** Sub-agents sign nothing for them: their parents speak with them. */
        person_servers: optional(array(origin, { max: 256 })),
      }),
    ),
    /** Servers whose signed answers may lower what a signature cost. */
    resource: optional(array(object({ origin, key_file: readable }), { max: 256 })),
  });
}

export type ConfigFile = Infer<ReturnType<typeof configShape>>;

/** Why text is no issuer URL. */
export function issuerUrlFault(given: string): string | undefined {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  return url?.protocol === 'https:' && given === url.origin
    ? undefined
    : 'must be https://host or https://host:port, without a path';
}
