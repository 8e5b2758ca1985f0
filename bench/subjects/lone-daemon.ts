/** A daemon without an issuer, over hardware of its own: the bare composition, and the states that scale is shown on. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'smol-toml';
import {
  DAEMON_ENVIRONMENT,
  DAEMON_NODE_OPTIONS,
  programEnvironment,
  programFile,
} from '../../scripts/sandbox/programs.ts';
import { makeSofthsmToken } from '../../scripts/sandbox/softhsm.ts';
import { openNotifySocket } from '../../test/support/notify-socket.ts';
import { call, type DaemonSubject } from './daemon.ts';

const PIN = 'bench-1234';
const TOKEN = { tokenLabel: 'lone', userPin: PIN, soPin: `${PIN}-so` };
/** Agents of these names may sign octets that nobody has read. */
export const RAW_AGENTS = [
  'raw-p256-pkcs11',
  'raw-ed25519-pkcs11',
  'raw-rsa-pkcs11',
  'raw-p256-tpm',
] as const;
const RAW_POLICIES = fileURLToPath(new URL('../policies/raw.cedar', import.meta.url));
const OWNER_POLICIES = fileURLToPath(new URL('../../policies/owner.cedar', import.meta.url));
const READY_TIMEOUT_MS = 300_000;
const POLL_MS = 2;

export interface Provisioned {
  /** `agentkeyd.toml`, `state`, `s` and what else the daemon needs are below it; it may be copied as a whole. */
  readonly dir: string;
  readonly configFile: string;
  readonly socket: string;
}

/** Where the daemon below `dir` listens and what configures it. */
export function provisionedAt(dir: string): Provisioned {
  return { dir, configFile: join(dir, 'agentkeyd.toml'), socket: join(dir, 's') };
}

export interface LoneHardware {
  /** Of a TPM. */
  readonly tcti?: string;
  /** A SoftHSM token of its own. */
  readonly token?: true;
}

/** Writes secret, PIN, policies and configuration. */
export async function provision(dir: string, hardware: LoneHardware): Promise<Provisioned> {
  for (const folder of ['a', 'policy.d']) await mkdir(join(dir, folder), { recursive: true });
  await writeFile(join(dir, 'secret'), randomBytes(32), { mode: 0o600 });
  await writeFile(join(dir, 'pin'), PIN, { mode: 0o600 });
  await copyFile(OWNER_POLICIES, join(dir, 'policy.d', 'owner.cedar'));
  await copyFile(RAW_POLICIES, join(dir, 'policy.d', 'raw.cedar'));
  if (hardware.token === true) await makeSofthsmToken(join(dir, 'token'), TOKEN);
  await configure(dir, hardware);
  return provisionedAt(dir);
}

/** Writes the configuration for where the directory is now. */
export async function configure(dir: string, { tcti, token: hasToken }: LoneHardware): Promise<void> {
  const at = (name: string): string => join(dir, name);
  const token = hasToken === true ? await makeSofthsmToken(at('token'), TOKEN, true) : undefined;
  const uid = process.getuid?.() ?? 0;
  await writeFile(
    at('agentkeyd.toml'),
    stringify({
      state: { directory: at('state') },
      sockets: { shared: at('s'), admin: at('a/s') },
      secret: { file: at('secret') },
      ...(tcti === undefined ? {} : { tpm: { tcti } }),
      ...(token === undefined
        ? {}
        : {
            pkcs11: {
              module: token.module,
              token_label: TOKEN.tokenLabel,
              softhsm2_conf: token.conf,
              pin: { file: at('pin') },
            },
          }),
      limits: {
        connections_per_caller: 512,
        requests_per_caller: 512,
        queue_per_caller: 512,
        agents_per_caller: 100_000,
      },
      policy: {
        create: [{ uids: [uid], names: ['*'] }],
        directory: at('policy.d'),
        jwt_types: ['*'],
        allow_raw: [...RAW_AGENTS],
      },
    }),
  );
}

export interface RunningDaemon {
  readonly subject: DaemonSubject;
  /** From the start of the process to READY=1. */
  readonly readyS: number;
  stop(): Promise<void>;
}

/**
 * Starts what ships, or another program that takes `--config`, and waits for its READY=1 (sd_notify(3)); then,
 * outside `readyS`, for its hardware.
 */
export async function startLone(
  name: string,
  { configFile, socket }: Provisioned,
  program = programFile('daemon'),
): Promise<RunningDaemon> {
  const notify = await openNotifySocket();
  const startedMs = performance.now();
  // It dies with this process.
  const command = [
    '--pdeathsig',
    'KILL',
    process.execPath,
    ...DAEMON_NODE_OPTIONS,
    program,
    '--config',
    configFile,
  ];
  const child: ChildProcess = spawn('setpriv', command, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...programEnvironment(), ...DAEMON_ENVIRONMENT, NOTIFY_SOCKET: notify.address },
  });
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-20_000);
  });
  while (!notify.messages.some((lines) => lines.includes('READY=1'))) {
    if (child.exitCode !== null || performance.now() - startedMs > READY_TIMEOUT_MS) {
      child.kill('SIGKILL');
      await notify.close();
      throw new Error(`${name} did not start:\n${log}`);
    }
    await delay(POLL_MS);
  }
  const readyS = (performance.now() - startedMs) / 1000;
  await hardwareReady(socket);
  return {
    subject: { name, socket, pid: child.pid ?? 0 },
    readyS,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, 'exit');
        child.kill('SIGTERM');
        await gone;
      }
      await notify.close();
    },
  };
}

async function hardwareReady(socket: string): Promise<void> {
  const isReady = async (): Promise<boolean> => {
    const { backends } = (await call(socket, 'GET', '/v1/status')) as {
      readonly backends: readonly { readonly state: string }[];
    };
    return backends.every(({ state }) => state === 'ready');
  };
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!(await isReady())) {
    if (performance.now() > deadline) throw new Error('the hardware did not become ready');
    await delay(20);
  }
}
