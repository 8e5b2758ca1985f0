/** The command line of `agentkeyd`. */
import { parseArgs } from 'node:util';
import { LOG_LEVELS, type LogLevel } from '../base/logger.ts';
import { KeydError } from '../wire/problem.ts';

export interface Flags {
  readonly config: string | undefined;
  readonly socket: string | undefined;
  readonly adminSocket: string | undefined;
  readonly stateDirectory: string | undefined;
  readonly tcti: string | undefined;
  readonly issuerUrl: string | undefined;
  readonly caFile: string | undefined;
  readonly logLevel: LogLevel | undefined;
  readonly checkConfig: boolean;
  readonly version: boolean;
  readonly help: boolean;
}

export const USAGE = `Usage: agentkeyd [options]

Holds the private keys of AI agents in a TPM or a PKCS#11 token and signs typed requests over a Unix socket.

Options:
  --config FILE           configuration, TOML (AGENTKEYD_CONFIG; default /etc/agentkeyd/agentkeyd.toml)
  --socket PATH           shared socket (AGENTKEYD_SOCKET)
  --admin-socket PATH     admin socket (AGENTKEYD_ADMIN_SOCKET)
  --state-directory DIR   where state lies (AGENTKEYD_STATE_DIRECTORY)
  --tcti CONF             how to reach the TPM, such as device:/dev/tpmrm0 (AGENTKEYD_TCTI)
  --issuer-url URL        the issuer, https://host[:port] (AGENTKEY_ISSUER_URL)
  --ca-file FILE          CA of the issuer's TLS certificate, PEM (AGENTKEY_ISSUER_CA)
  --log-level LEVEL       trace, debug, info, warn, error or fatal
  --check-config          read the configuration, tell every fault, start nothing
  --version               print the version
  --help                  print this

Flags count over the environment, the environment over the file. Sockets handed over by systemd
(LISTEN_FDS, named "shared" and "admin") count over all.

Signals: SIGTERM or SIGINT stops after what is under way, a second one at once; SIGHUP reads the policy anew.

Exit status:
  0  stopped as asked, or the configuration is good (--check-config)
  1  failed while running
  2  the command line is wrong
  3  the configuration is invalid; every fault is on standard error
  4  another agentkeyd uses the state directory or a socket
  5  the state was written by a newer version
`;

/** Exit status by what it means; told in USAGE. */
export const EXIT = { ok: 0, failure: 1, usage: 2, configuration: 3, conflict: 4, stateNewer: 5 } as const;

/** @throws KeydError `malformed_request` with what is wrong about the arguments */
export function parseFlags(args: readonly string[]): Flags {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      strict: true,
      allowPositionals: false,
      options: {
        config: { type: 'string' },
        socket: { type: 'string' },
        'admin-socket': { type: 'string' },
        'state-directory': { type: 'string' },
        tcti: { type: 'string' },
        'issuer-url': { type: 'string' },
        'ca-file': { type: 'string' },
        'log-level': { type: 'string' },
        'check-config': { type: 'boolean' },
        version: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }));
  } catch (cause) {
    throw new KeydError('malformed_request', cause instanceof Error ? cause.message : String(cause), {
      cause,
    });
  }
  const logLevel = LOG_LEVELS.find((level) => level === values['log-level']);
  if (values['log-level'] !== undefined && logLevel === undefined) {
    throw new KeydError('malformed_request', `--log-level must be one of ${LOG_LEVELS.join(', ')}`);
  }
  return {
    config: values.config,
    socket: values.socket,
    adminSocket: values['admin-socket'],
    stateDirectory: values['state-directory'],
    tcti: values.tcti,
    issuerUrl: values['issuer-url'],
    caFile: values['ca-file'],
    logLevel,
    checkConfig: values['check-config'] ?? false,
    version: values.version ?? false,
    help: values.help ?? false,
  };
}
