/** A private agentkeyd below one directory: secrets, configuration, process. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'smol-toml';
import { connect } from '../../src/client/index.ts';
import { DAEMON_ENVIRONMENT, DAEMON_NODE_OPTIONS, programEnvironment, programFile } from './programs.ts';
import type { SandboxIssuer } from './issuer.ts';
import type { SofthsmToken } from './softhsm.ts';
import { exists } from './exists.ts';

/** The set that a fresh installation begins with; the sandbox's user may change their copy of it. */
const OWNER_POLICIES = join(import.meta.dirname, '..', '..', 'policies', 'owner.cedar');

export interface SandboxDaemonOptions {
  readonly dir: string;
  readonly tcti: string;
  readonly token: SofthsmToken;
  readonly userPin: string;
  readonly issuer: SandboxIssuer;
}

export interface SandboxDaemon {
  readonly configFile: string;
  readonly socket: string;
  readonly adminSocket: string;
  readonly pinFile: string;
}

export interface DaemonProcess {
  readonly pid: number;
  readonly child: ChildProcess;
  stop(): Promise<void>;
}

/** Where the daemon below `dir` listens. */
export function daemonSockets(dir: string): { readonly socket: string; readonly adminSocket: string } {
  return {
    socket: join(dir, 'run', 'agentkeyd.sock'),
    adminSocket: join(dir, 'run-admin', 'agentkeyd.sock'),
  };
}

/** Writes secret, PIN and agentkeyd.toml; the secret stays what it was, or every key would be lost. */
export async function provisionDaemon(options: SandboxDaemonOptions): Promise<SandboxDaemon> {
  const file = (name: string): string => join(options.dir, name);
  for (const folder of ['state', 'run', 'run-admin'])
    await mkdir(file(folder), { recursive: true, mode: 0o700 });
  if (!(await exists(file('secret')))) await writeFile(file('secret'), randomBytes(32), { mode: 0o600 });
  await writeFile(file('pin'), options.userPin, { mode: 0o600 });
  const uid = process.getuid?.() ?? 0;
  const { socket, adminSocket } = daemonSockets(options.dir);
  const config = {
    state: { directory: file('state') },
    sockets: { shared: socket, admin: adminSocket },
    secret: { file: file('secret') },
    tpm: { tcti: options.tcti },
    pkcs11: {
      module: options.token.module,
      token_label: options.token.tokenLabel,
      softhsm2_conf: options.token.conf,
      pin: { file: file('pin') },
    },
    issuer: { url: options.issuer.url, ca_file: options.issuer.caFile },
    // One user has all of it: no other's share is to be kept.
    limits: { connections_per_caller: 512, requests_per_caller: 512, queue_per_caller: 512 },
    // The sandbox's own user may do everything that anybody may; see docs/configuration.md for real rules.
    policy: {
      create: [{ uids: [uid], names: ['*'] }],
      roles: { operate: [{ uids: [uid] }], approve: [{ uids: [uid] }], policy: [{ uids: [uid] }] },
      directory: file('policy.d'),
      quote: [{ uids: [uid] }],
      jwt_types: ['*'],
    },
  };
  if (!(await exists(file('policy.d')))) {
    await mkdir(file('policy.d'), { mode: 0o755 });
    await copyFile(OWNER_POLICIES, join(file('policy.d'), 'owner.cedar'));
  }
  await writeFile(file('agentkeyd.toml'), stringify(config), { mode: 0o600 });
  return { configFile: file('agentkeyd.toml'), socket, adminSocket, pinFile: file('pin') };
}

/** Starts the daemon; it dies with this process, and Ctrl-C in the terminal reaches it only through us. */
export function startDaemonProcess(
  daemon: SandboxDaemon,
  log: number | 'inherit',
  program = programFile('daemon'),
): DaemonProcess {
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'TERM', process.execPath, ...DAEMON_NODE_OPTIONS, program, '--config', daemon.configFile],
    {
      stdio: ['ignore', 'ignore', log],
      detached: true,
      env: { ...programEnvironment(), ...DAEMON_ENVIRONMENT },
    },
  );
  return {
    pid: child.pid ?? 0,
    child,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}

/** Resolves when the host is enrolled. @throws Error with the daemon's own words where it is not in time */
export async function waitUntilEnrolled(
  daemon: SandboxDaemon,
  child: ChildProcess,
  timeoutMs: number,
): Promise<void> {
  const client = connect({ socketPath: daemon.socket, timeoutMs: 5_000 });
  const deadline = Date.now() + timeoutMs;
  let last = 'it did not answer';
  try {
    while (Date.now() < deadline) {
      if (child.exitCode !== null) throw new Error(`agentkeyd ended with exit code ${child.exitCode}`);
      try {
        const host = (await client.status())['host'] as {
          readonly state: string;
          readonly lastFault: string | null;
        };
        if (host.state === 'enrolled') return;
        last = `${host.state}: ${host.lastFault ?? 'no fault yet'}`;
      } catch (thrown) {
        last = thrown instanceof Error ? thrown.message : String(thrown);
      }
      await delay(100);
    }
  } finally {
    client.close();
  }
  throw new Error(`the host was not enrolled in time (${last})`);
}
