/** A private issuer below one directory: TLS, configuration, hosts file, keys in a SoftHSM token, process. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'smol-toml';
import { programEnvironment, programFile } from './programs.ts';
import type { SofthsmToken } from './softhsm.ts';
import { makeTls } from './tls.ts';

const run = promisify(execFile);
const INIT_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 50;
const STOP_TIMEOUT_MS = 15_000;

export interface SandboxIssuerOptions {
  /** Made where it is missing; everything is below it. */
  readonly dir: string;
  /** Port on localhost. */
  readonly port: number;
  readonly token: SofthsmToken;
  readonly userPin: string;
  /** PEM of the test CA that endorses EKs, and of the CA below it that signs them. */
  readonly testRootsFile: string;
  readonly intermediatesFile: string;
  readonly logLevel?: 'debug' | 'info' | 'warn';
  /** `[limits]` as issuer.toml has it; what the issuer ships with, unless said. */
  readonly limits?: Readonly<Record<string, number>>;
}

/** What a daemon and a person need to know about it. */
export interface SandboxIssuer {
  readonly configFile: string;
  readonly hostsFile: string;
  readonly url: string;
  readonly issuer: string;
  readonly trustDomain: string;
  readonly aauthDomain: string;
  /** CA of the TLS certificate, PEM. */
  readonly caFile: string;
}

/** One approved host, as hosts.toml has it. */
export interface SandboxHost {
  readonly label: string;
  /** SHA-256 of the EK's TPMT_PUBLIC, hex. */
  readonly ekSha256: string;
  readonly namePatterns: readonly string[];
  readonly principal: string;
  /** `[host.grant]` as hosts.toml has it. */
  readonly grant?: Readonly<Record<string, unknown>>;
  readonly tokens?: readonly {
    readonly manufacturer: string;
    readonly model: string;
    readonly serial: string;
  }[];
}

/** Wide enough for the documented examples; DT₀ says that no person approved it. */
export const SANDBOX_GRANT = {
  scopes: ['*'],
  audiences: ['*'],
  constraints: [{ key: 'spend.USD.2', max_subtree: 1_000_000 }],
  max_depth: 8,
  lifetime_seconds: 30 * 86_400,
};
export const SANDBOX_ISSUER = 'https://issuer.sandbox.test';
export const SANDBOX_TRUST_DOMAIN = 'sandbox.test';
/** Named by every credential of the sandbox. */
export const SANDBOX_POLICY = 'sandbox';

/** Writes TLS material, issuer.toml, hosts.toml (without hosts) and the PIN file. */
export async function provisionIssuer(options: SandboxIssuerOptions): Promise<SandboxIssuer> {
  const { dir, port, token } = options;
  const file = (name: string): string => join(dir, name);
  await mkdir(file('state'), { recursive: true, mode: 0o700 });
  const tls = await makeTls(file('tls'));
  await writeFile(file('pin'), `${options.userPin}\n`, { mode: 0o600 });
  const url = `https://localhost:${port}`;
  const config = {
    issuer: SANDBOX_ISSUER,
    url,
    trust_domain: SANDBOX_TRUST_DOMAIN,
    aauth_domain: SANDBOX_TRUST_DOMAIN,
    channel_binding: 'exporter',
    state_directory: file('state'),
    hosts_file: file('hosts.toml'),
    development_grants: true,
    log_level: options.logLevel ?? 'info',
    listen: { address: 'localhost', port },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    tls: { certificate_file: tls.certificateFile, key: { file: tls.keyFile } },
    keys: {
      module: token.module,
      token_label: token.tokenLabel,
      pin: { file: file('pin') },
      softhsm2_conf: token.conf,
    },
    appraisal: {
      expired_ek_certificate: 'refuse',
      cleared_tpm: 'accept',
      intermediates_file: options.intermediatesFile,
    },
    development_policy: {
      name: SANDBOX_POLICY,
      accept_software: true,
      test_roots_file: options.testRootsFile,
    },
  };
  await writeFile(file('issuer.toml'), stringify(config), { mode: 0o600 });
  await writeHosts(file('hosts.toml'), []);
  return {
    configFile: file('issuer.toml'),
    hostsFile: file('hosts.toml'),
    url,
    issuer: SANDBOX_ISSUER,
    trustDomain: SANDBOX_TRUST_DOMAIN,
    aauthDomain: SANDBOX_TRUST_DOMAIN,
    caFile: tls.caFile,
  };
}

/** Writes hosts.toml; a running issuer takes it with SIGHUP. */
export async function writeHosts(hostsFile: string, hosts: readonly SandboxHost[]): Promise<void> {
  const host = hosts.map(({ label, ekSha256, namePatterns, principal, grant, tokens = [] }) => ({
    label,
    ek_sha256: ekSha256,
    name_patterns: namePatterns,
    principal,
    ...(grant === undefined ? {} : { grant }),
    ...(tokens.length === 0 ? {} : { token: tokens }),
  }));
  await writeFile(hostsFile, hosts.length === 0 ? '# No host is approved.\n' : stringify({ host }), {
    mode: 0o600,
  });
}

/** Runs `agentkey-issuer keys init`: idempotent. */
export async function initialiseIssuerKeys(configFile: string): Promise<void> {
  await run(process.execPath, [programFile('issuer'), '--config', configFile, 'keys', 'init'], {
    timeout: INIT_TIMEOUT_MS,
    env: programEnvironment(),
  });
}

export interface IssuerProcess {
  readonly pid: number;
  /** SIGHUP: hosts, roots and TLS are read again. */
  reload(): void;
  /** SIGTERM, and SIGKILL where it does not end in time. */
  stop(): Promise<void>;
}

/** Starts the issuer and resolves when it answers `/readyz`. Its log goes to `log`, or to standard error. */
export async function startIssuerProcess(
  issuer: SandboxIssuer,
  options: { readonly timeoutMs: number; readonly log?: number | 'ignore' | 'inherit' },
): Promise<IssuerProcess> {
  // It dies with this process, and Ctrl-C in the terminal reaches it only through us.
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'TERM', process.execPath, programFile('issuer'), '--config', issuer.configFile, 'serve'],
    {
      stdio: ['ignore', 'ignore', options.log ?? 'inherit'],
      detached: true,
      env: programEnvironment(),
    },
  );
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  const ca = await readFile(issuer.caFile, 'utf8');
  const deadline = Date.now() + options.timeoutMs;
  while (!(await isReady(issuer.url, ca))) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`the issuer ended (${String(child.exitCode ?? child.signalCode)})`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`the issuer was not ready within ${options.timeoutMs} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
  }
  return {
    pid: child.pid ?? 0,
    reload: () => {
      child.kill('SIGHUP');
    },
    stop: () => stop(child, exited),
  };
}

async function stop(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

function isReady(url: string, ca: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request(`${url}/readyz`, { ca, agent: false, timeout: 1000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    probe.on('timeout', () => {
      probe.destroy();
    });
    probe.on('error', () => {
      resolve(false);
    });
    probe.end();
  });
}
