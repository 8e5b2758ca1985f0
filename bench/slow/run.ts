/** `npm run bench -- --slow`: what callers get of a TPM that takes its time, and beside one that floods. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileRaw } from '../harness/run-raw.ts';
import { startSlowHost } from './host.ts';
import { measureSlow, type SlowFigure } from './scenarios.ts';

/** A discrete TPM. */
const SIGN_MS = 30;
const SHORT = { rounds: 5, seconds: 5 };
const FULL = { rounds: 5, seconds: 20 };

/** On a host of its own; `short` takes five minutes, the whole four times as long. */
export async function runSlow(
  options: { readonly short: boolean; readonly rounds?: number; readonly seconds?: number },
  say: (line: string) => void,
): Promise<readonly SlowFigure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'agentkeyd-slow-'));
  try {
    // Other users run the loops and read their requests.
    await chmod(dir, 0o711);
    const programs = join(dir, 'bin');
    await compileRaw(programs);
    const host = await startSlowHost(programs, join(dir, 'h'), SIGN_MS);
    try {
      const { rounds, seconds } = { ...(options.short ? SHORT : FULL), ...options };
      return await measureSlow(programs, host, { signMs: SIGN_MS, rounds, seconds }, say);
    } finally {
      await host.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
