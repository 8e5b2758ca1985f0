/** A real agentkeyd as a process of its own, for one test; stopped and removed by `remove`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'smol-toml';
import { DAEMON_NODE_OPTIONS, programFile } from '../../scripts/sandbox/programs.ts';
import { requestOverSocket, type SocketAnswer, type SocketRequestOptions } from './http-over-socket.ts';
import { USER_PIN, type TestSofthsm } from './softhsm.ts';
import type { TestSwtpm } from './swtpm.ts';
import { makeTempDir } from './temp-dir.ts';

export interface TestDaemonOptions {
  readonly tpm?: Pick<TestSwtpm, 'tcti'>;
  readonly softhsm?: TestSofthsm;
  readonly issuer?: { readonly url: string; readonly caFile: string };
  /** Sections that are added to the configuration, or take the place of its own. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Policy files by name, beside the shipped one for owners; without them the shipped set is in force. */
  readonly policies?: Readonly<Record<string, string>>;
  /** Where `config` put the sockets, if it did. */
  readonly paths?: { readonly shared: string; readonly admin: string };
  /** Environment beside what a daemon needs. */
  readonly env?: NodeJS.ProcessEnv;
  /** Wait for every configured backend (default), or only for READY. */
  readonly waitForHardware?: boolean;
  /** Starts the program by another one, such as systemd-socket-activate: its command line before the daemon's. */
  readonly launcher?: readonly string[];
  /** Do not start yet. */
  readonly start?: false;
}

export interface TestDaemon {
  readonly dir: string;
  readonly configFile: string;
  readonly stateDirectory: string;
  readonly socketPath: string;
  readonly adminSocketPath: string;
  /** Undefined while it does not run. */
  readonly pid: number | undefined;
  /** Everything written to standard error since the last start. */
  log(): string;
  request(
    method: string,
    path: string,
    body?: unknown,
    options?: SocketRequestOptions,
  ): Promise<SocketAnswer>;
  admin(method: string, path: string, body?: unknown, options?: SocketRequestOptions): Promise<SocketAnswer>;
  /** Starts it (again) on the same state. */
  start(): Promise<void>;
  /** SIGTERM; the exit status. */
  stop(): Promise<number | null>;
  /** SIGKILL, as a crash. */
  kill9(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** The exit status of the running process. */
  exited(): Promise<number | null>;
  remove(): Promise<void>;
}

const READY_TIMEOUT_MS = 30_000;

export async function startDaemon(options: TestDaemonOptions = {}): Promise<TestDaemon> {
  const temp = await makeTempDir();
  const at = (name: string): string => join(temp.path, name);
  await mkdir(at('a'));
  await writeFile(at('secret'), randomBytes(32), { mode: 0o600 });
  await writeFile(at('pin'), `${USER_PIN}\n`, { mode: 0o600 });
  if (options.policies !== undefined) await writePolicies(at('policy.d'), options.policies);
  await writeFile(at('agentkeyd.toml'), stringify(configuration(options, at)));
  const daemon = new DaemonProcess(temp, options);
  if (options.start !== false) {
    try {
      await daemon.start();
    } catch (error) {
      await daemon.remove();
      throw error;
    }
  }
  return daemon;
}

const OWNER_POLICIES = join(import.meta.dirname, '..', '..', 'policies', 'owner.cedar');

/** A policy set: the shipped file for owners, and these beside it. */
async function writePolicies(directory: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(directory, { mode: 0o755 });
  await copyFile(OWNER_POLICIES, join(directory, 'owner.cedar'));
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(directory, name), text, { mode: 0o644 });
  }
}

function configuration(options: TestDaemonOptions, at: (name: string) => string): Record<string, unknown> {
  const uid = process.getuid?.() ?? 0;
  const { tpm, softhsm, issuer, policies } = options;
  const config = {
    state: { directory: at('state') },
    sockets: { shared: at('s'), admin: at('a/s') },
    secret: { file: at('secret') },
    log: { level: 'debug' },
    policy: {
      create: [{ uids: [uid], names: ['*'] }],
      roles: { operate: [{ uids: [uid] }] },
      quote: [{ uids: [uid] }],
      jwt_types: ['*'],
    },
    ...(tpm === undefined ? {} : { tpm: { tcti: tpm.tcti } }),
    ...(softhsm === undefined
      ? {}
      : {
          pkcs11: {
            module: softhsm.module,
            token_label: softhsm.tokenLabel,
            softhsm2_conf: softhsm.conf,
            pin: { file: at('pin') },
          },
        }),
    ...(issuer === undefined ? {} : { issuer: { url: issuer.url, ca_file: issuer.caFile } }),
    ...options.config,
  };
  return policies === undefined
    ? config
    : { ...config, policy: { ...(config.policy as object), directory: at('policy.d') } };
}

class DaemonProcess implements TestDaemon {
  readonly dir: string;
  readonly configFile: string;
  readonly stateDirectory: string;
  readonly socketPath: string;
  readonly adminSocketPath: string;
  readonly #options: TestDaemonOptions;
  readonly #removeFolder: () => Promise<void>;
  #child: ChildProcess | undefined;
  #log = '';

  constructor(temp: { path: string; remove(): Promise<void> }, options: TestDaemonOptions) {
    this.dir = temp.path;
    this.configFile = join(temp.path, 'agentkeyd.toml');
    this.stateDirectory = join(temp.path, 'state');
    this.socketPath = options.paths?.shared ?? join(temp.path, 's');
    this.adminSocketPath = options.paths?.admin ?? join(temp.path, 'a/s');
    this.#options = options;
    this.#removeFolder = () => temp.remove();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  log(): string {
    return this.#log;
  }

  request(
    method: string,
    path: string,
    body?: unknown,
    options?: SocketRequestOptions,
  ): Promise<SocketAnswer> {
    return requestOverSocket(this.socketPath, method, path, body, options);
  }

  admin(method: string, path: string, body?: unknown, options?: SocketRequestOptions): Promise<SocketAnswer> {
    return requestOverSocket(this.adminSocketPath, method, path, body, options);
  }

  async start(): Promise<void> {
    const daemon = [
      process.execPath,
      ...DAEMON_NODE_OPTIONS,
      programFile('daemon'),
      '--config',
      this.configFile,
    ];
    const [command = '', ...args] = [...(this.#options.launcher ?? []), ...daemon];
    this.#log = '';
    const child = spawn(command, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env['PATH'], ...this.#options.env },
    });
    this.#child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
    });
    await this.#until(() => Promise.resolve(this.#log.includes('"msg":"ready"')));
    if (this.#options.waitForHardware !== false) await this.#until(() => this.#hardwareIsReady());
  }

  async stop(): Promise<number | null> {
    this.signal('SIGTERM');
    return this.exited();
  }

  async kill9(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited();
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async exited(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) throw new Error('the daemon was not started');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return child.exitCode;
  }

  async remove(): Promise<void> {
    if (this.#child !== undefined) await this.kill9();
    await this.#removeFolder();
  }

  async #hardwareIsReady(): Promise<boolean> {
    const { json } = await this.request('GET', '/v1/status');
    const { backends } = json as { backends: readonly { state: string }[] };
    return backends.every(({ state }) => state === 'ready');
  }

  async #until(condition: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (!(await condition())) {
      const ended = this.#child?.exitCode ?? this.#child?.signalCode;
      if (ended !== null && ended !== undefined) throw new Error(`agentkeyd ended (${ended}): ${this.#log}`);
      if (Date.now() > deadline) throw new Error(`agentkeyd is not ready in time: ${this.#log}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
