/** A sandbox of the demo's own, in a temporary folder, started the way a person starts one. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readDescription, type SandboxDescription } from '../sandbox/description.ts';
import { exists } from '../sandbox/exists.ts';

const START_TIMEOUT_MS = 120_000;

export interface RunningSandbox {
  readonly dir: string;
  readonly description: SandboxDescription;
  end(): Promise<void>;
}

export async function startSandbox(): Promise<RunningSandbox> {
  const dir = await mkdtemp(join(tmpdir(), 'agentkeyd-demo-'));
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, '..', 'sandbox', 'main.ts'), '--dir', dir],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  const file = join(dir, 'sandbox.json');
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await exists(file))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await end(child);
      throw new Error(`the sandbox did not start:\n${said}`);
    }
    await delay(100);
  }
  return {
    dir,
    description: await readDescription(file),
    async end() {
      await end(child);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}
