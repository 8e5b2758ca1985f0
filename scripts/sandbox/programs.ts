/** Which build of our programs is started: dist/ where asked for, else the sources as they are. */
import { join } from 'node:path';

export type Program = 'daemon' | 'issuer' | 'cli';

const ROOT = join(import.meta.dirname, '..', '..');

/** File for node to run. `npm test`, `npm run demo` and `npm run sandbox` set AGENTKEYD_TEST_DIST=1: what ships. */
export function programFile(program: Program): string {
  return process.env['AGENTKEYD_TEST_DIST'] === '1'
    ? join(ROOT, 'dist', program, 'main.js')
    : join(ROOT, 'src', program, 'main.ts');
}

/**
 * Node's own, as the unit and the first line of the daemon's main.ts have them. V8's young generation would grow to 64
 * MiB, resident, and be collected in 5 ms where 2 do.
 */
export const DAEMON_NODE_OPTIONS: readonly string[] = ['--max-semi-space-size=16'];

/**
 * The C library's, as the unit and that line have it: each of a dozen threads would keep memory of its own, 12 MiB of 154
 * with 10,000 agents.
 */
export const DAEMON_ENVIRONMENT: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: '2' };

/**
 * Environment for a program of the sandbox: nothing of the shell's that names another sandbox's sockets or
 * token, since those variables win over a configuration file.
 */
export function programEnvironment(): Record<string, string> {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'LANG'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(kept);
}
