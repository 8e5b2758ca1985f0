/** The sandbox as a person starts it, one for a test file; nothing of it is left when it has ended. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readDescription, type SandboxDescription } from '../../scripts/sandbox/description.ts';
import { makeTempDir } from './temp-dir.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const SANDBOX = [process.execPath, join(ROOT, 'scripts', 'sandbox', 'main.ts')];
const START_TIMEOUT_MS = 120_000;
const GONE_TIMEOUT_MS = 10_000;

/** A process that may be told from another with the same id. */
export interface ProcessMark {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTime: string;
  readonly name: string;
}

export interface TestSandbox {
  readonly dir: string;
  readonly description: SandboxDescription;
  /** Everything that the sandbox has started and that runs now, module hosts included. */
  processes(): readonly ProcessMark[];
  /** What it said on standard error. */
  readonly said: () => string;
  /** Ends it by a signal to the process that was started; its exit status. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
  /** `end`, a look at whether everything is gone, and the folder removed. @throws Error naming what is left */
  remove(): Promise<void>;
}

export interface SandboxOptions {
  /** Go on in this folder, which `remove` leaves. */
  readonly dir?: string;
  /** Command line before `--dir DIR`; default this Node with scripts/sandbox/main.ts. */
  readonly command?: readonly string[];
}

export async function startSandbox(options: SandboxOptions = {}): Promise<TestSandbox> {
  const temp = options.dir === undefined ? await makeTempDir() : undefined;
  const dir = options.dir ?? temp?.path ?? '';
  const file = join(dir, 'sandbox.json');
  await rm(file, { force: true }); // of one that was killed
  const { child, said } = spawnSandbox(dir, options.command);
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(file)) {
    if (hasEnded(child) || Date.now() > deadline) {
      await end(child, 'SIGTERM');
      await temp?.remove();
      throw new Error(`the sandbox did not start:\n${said()}`);
    }
    await delay(50);
  }
  const description = await readDescription(file);
  const all = new Map<number, ProcessMark>();
  const look = (): readonly ProcessMark[] => {
    const now = descendants(child.pid ?? 0);
    for (const mark of now) all.set(mark.pid, mark);
    return now;
  };
  look();
  return {
    dir,
    description,
    processes: look,
    said,
    async end(signal = 'SIGTERM') {
      look();
      return end(child, signal);
    },
    async remove() {
      look();
      await end(child, 'SIGTERM');
      const left = await leftAfter([...all.values()], GONE_TIMEOUT_MS);
      for (const { pid } of left) process.kill(pid, 'SIGKILL');
      await temp?.remove();
      if (left.length > 0) throw new Error(`still running: ${left.map(({ name }) => name).join(', ')}`);
    },
  };
}

/** Only starts it; for tests of a start that fails or is interrupted. */
export function spawnSandbox(
  dir: string,
  command?: readonly string[],
): { readonly child: ChildProcess; readonly said: () => string } {
  const [program, ...args] = [...(command ?? SANDBOX), '--dir', dir];
  const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-8000);
  });
  return { child, said: () => said };
}

/** Exit status; null where it was killed by a signal. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (!hasEnded(child)) {
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }
  return child.exitCode;
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** Those of `marks` that still run after at most `timeoutMs`; a zombie is gone. */
export async function leftAfter(
  marks: readonly ProcessMark[],
  timeoutMs: number,
): Promise<readonly ProcessMark[]> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const left = marks.filter(isRunning);
    if (left.length === 0 || Date.now() > deadline) return left;
    await delay(50);
  }
}

/** Children of a process, and theirs, by /proc. */
export function descendants(pid: number): readonly ProcessMark[] {
  const all = readdirSync('/proc').flatMap((entry) => {
    const facts = /^\d+$/.test(entry) ? processFacts(Number(entry)) : undefined;
    return facts === undefined ? [] : [facts];
  });
  const below = (parent: number): readonly ProcessMark[] =>
    all.filter(({ ppid }) => ppid === parent).flatMap((child) => [child, ...below(child.pid)]);
  return below(pid);
}

function isRunning({ pid, startTime }: ProcessMark): boolean {
  const facts = processFacts(pid);
  return facts !== undefined && facts.startTime === startTime && facts.state !== 'Z';
}

function processFacts(
  pid: number,
): (ProcessMark & { readonly ppid: number; readonly state: string }) | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined; // it has ended meanwhile
  }
  const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
  // After the name: state is field 3, ppid 4, starttime 22 (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { pid, name, state: fields[0] ?? '', ppid: Number(fields[1]), startTime: fields[19] ?? '' };
}
