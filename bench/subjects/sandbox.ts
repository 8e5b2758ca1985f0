/** A whole sandbox for the bench: TPM and token in software, issuer, and a daemon with everything on. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readDescription, type SandboxDescription } from '../../scripts/sandbox/description.ts';
import { exists } from '../../scripts/sandbox/exists.ts';
import { call, type DaemonSubject } from './daemon.ts';

const MAIN = fileURLToPath(new URL('../../scripts/sandbox/main.ts', import.meta.url));
const POLICY = fileURLToPath(new URL('../policies/bench.cedar', import.meta.url));
const BUDGET_CENTS = 1_000_000_000;
const ISSUANCES_PER_HOUR = 1_000_000;
const START_TIMEOUT_MS = 90_000;

export interface BenchSandbox {
  readonly description: SandboxDescription;
  readonly full: DaemonSubject;
  readonly issuerPid: number;
  /** Where the composed daemon writes its profile. */
  readonly profileFile: string;
  stop(): Promise<void>;
}

/** @param program in the daemon's place; what ships, unless said */
export async function startBenchSandbox(dir: string, name: string, program?: string): Promise<BenchSandbox> {
  const other = program === undefined ? [] : ['--daemon', program];
  const child = spawn(process.execPath, [MAIN, '--dir', dir, ...other], { stdio: 'ignore' });
  const file = join(dir, 'sandbox.json');
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await exists(file))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`the sandbox did not start:\n${await readFile(join(dir, 'agentkeyd.log'), 'utf8')}`);
    }
    await delay(100);
  }
  const description = await readDescription(file);
  await widenHost(join(dir, 'issuer', 'hosts.toml'));
  process.kill(description.pids['agentkey-issuer'] ?? 0, 'SIGHUP');
  await cp(POLICY, join(dir, 'daemon', 'policy.d', 'bench.cedar'));
  await call(description.adminSocket, 'POST', '/v1/policy/reload');
  return {
    description,
    full: { name, socket: description.socket, pid: description.pids['agentkeyd'] ?? 0 },
    profileFile: join(dir, 'daemon', 'profile.json'),
    issuerPid: description.pids['agentkey-issuer'] ?? 0,
    async stop() {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}

/** A cent a signature, and issuances by the thousand: the sandbox's own ceilings would be reached within minutes. */
async function widenHost(hostsFile: string): Promise<void> {
  const text = await readFile(hostsFile, 'utf8');
  const widened = text
    .replace('max_subtree = 1000000', `max_subtree = ${BUDGET_CENTS}`)
    .replace('[[host]]', `[[host]]\nmax_issuances_per_hour = ${ISSUANCES_PER_HOUR}`);
  await writeFile(hostsFile, widened, { mode: 0o600 });
}
