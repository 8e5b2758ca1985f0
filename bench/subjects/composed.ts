/** What policy, ledger and audit each add to a signature, and where its microseconds go: the composed daemon. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exists } from '../../scripts/sandbox/exists.ts';
import { timeByStage, type CpuProfile } from '../harness/cpu-profile.ts';
import { cpuBetween, processCpu } from '../harness/process-cpu.ts';
import { writeRequests } from '../harness/requests.ts';
import { spread, type Spread } from '../harness/stats.ts';
import { createAgent, loadWith, signRequest } from './daemon.ts';
import { startBenchSandbox, type BenchSandbox } from './sandbox.ts';

const PROGRAM = fileURLToPath(new URL('./composed-daemon.ts', import.meta.url));

/** Each with one part more than the one before it; `asked` is `policy` with one that reads the amount. */
export const COMPOSITIONS = ['bare', 'policy', 'asked', 'ledger', 'pay'] as const;
export type Composition = (typeof COMPOSITIONS)[number];

export function compositionName(composition: Composition, connections: number): string {
  return `composed ${composition}-pkcs11 http-message c${connections}`;
}

/** One signature's time in one stage, microseconds. */
export interface Stage {
  readonly name: string;
  readonly us: Spread;
}

export async function startComposed(dir: string): Promise<BenchSandbox> {
  const sandbox = await startBenchSandbox(dir, 'composed', PROGRAM);
  for (const composition of COMPOSITIONS) {
    await createAgent(sandbox.full, `${composition}-pkcs11`, 'pkcs11', 'ES256');
  }
  return sandbox;
}

const PROFILE_CONNECTIONS = 8;
const PROFILE_SECONDS = 2;
const PROFILE_TIMEOUT_MS = 30_000;

/** CPU of one full signature by stage: the main thread's from profiles, the rest from the kernel's accounts. */
export async function profileStages(
  programs: string,
  dir: string,
  { full: subject, profileFile }: BenchSandbox,
  passes: number,
): Promise<readonly Stage[]> {
  const file = join(dir, 'profile.http');
  await writeRequests(file, [signRequest('pay-pkcs11', 'http-message')]);
  const load = { connections: PROFILE_CONNECTIONS, seconds: PROFILE_SECONDS };
  const found = new Map<string, number[]>();
  const note = (name: string, us: number): void => {
    found.set(name, [...(found.get(name) ?? []), us]);
  };
  for (let pass = 0; pass < passes; pass += 1) {
    await rm(profileFile, { force: true });
    process.kill(subject.pid, 'SIGUSR2');
    await delay(200);
    const before = processCpu(subject.pid);
    const { requests } = await loadWith(programs, subject, file, load);
    const { ownUs, mainThreadUs, childrenUs } = cpuBetween(before, processCpu(subject.pid));
    process.kill(subject.pid, 'SIGUSR2');
    const times = timeByStage(await readProfile(profileFile), stageOf, EVENT_LOOP);
    // A profile counts time that passed, whoever had the CPU: its shares are right, the kernel has the sum.
    const sampledUs = [...times.values()].reduce((sum, us) => sum + us, 0);
    for (const [name, us] of times) note(name, ((us / sampledUs) * mainThreadUs) / requests);
    note('other threads: fdatasync, collection', (ownUs - mainThreadUs) / requests);
    note('module host: C_SignInit, C_Sign', childrenUs / requests);
  }
  return [...found]
    .map(([name, values]) => ({ name, us: spread(values) }))
    .sort((a, b) => b.us.median - a.us.median);
}

const EVENT_LOOP = 'Node: sockets, HTTP parser, event loop';

/** Rooms that serve all others (base, wire) count for who calls them. */
const STAGES: readonly (readonly [RegExp, string])[] = [
  [/\/src\/base\/journal/, 'journal: one write for all that wait'],
  [/\/src\/base\/(fair-queue|waiting-room)/, 'queue for hardware'],
  [/\/src\/socket\//, 'HTTP and JSON (socket)'],
  [/\/src\/caller\//, 'who calls (caller)'],
  [/\/src\/policy\//, 'policy: Cedar and its obligations'],
  [/\/src\/ledger\//, 'ledger: reserve and settle'],
  [/\/src\/audit\//, 'audit: entry, Merkle tree'],
  [/\/src\/signing\/audit-recorder/, 'audit: entry, Merkle tree'],
  [/\/src\/(signing|delegation|daemon|issuance)\//, 'what is signed (signing)'],
  [/\/src\/backend\//, 'to and from the module host (backend)'],
];

function stageOf(url: string): string | undefined {
  return STAGES.find(([file]) => file.test(url))?.[1];
}

async function readProfile(file: string): Promise<CpuProfile> {
  const deadline = Date.now() + PROFILE_TIMEOUT_MS;
  while (!(await exists(file))) {
    if (Date.now() > deadline) throw new Error('the composed daemon wrote no profile');
    await delay(50);
  }
  return JSON.parse(await readFile(file, 'utf8')) as CpuProfile;
}
