/** tpm2-tools beside a backend that has the same TPM open: nobody shares slots, so the tools make themselves room. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TestSwtpm } from './swtpm.ts';

const run = promisify(execFile);
const TIMEOUT_MS = 12_000;

export interface ToolResult {
  readonly ok: boolean;
  /** Standard output, or for a failure what the tool said about it. */
  readonly text: string;
}

/** Runs one tool in `cwd` (the TPM's folder unless given). Not synchronous: swtpm's output has to be read meanwhile. */
export async function tpm2Tool(
  swtpm: TestSwtpm,
  args: readonly [string, ...string[]],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<ToolResult> {
  const [name, ...rest] = args;
  const settings = {
    cwd: options.cwd ?? swtpm.dir,
    env: { ...swtpm.env, ...options.env },
    timeout: TIMEOUT_MS,
  };
  for (let attempt = 0; ; attempt += 1) {
    try {
      return { ok: true, text: (await run(name, rest, settings)).stdout };
    } catch (error) {
      const text = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
      // Two clients that reach swtpm in one instant can block each other: a tool that had to be ended says nothing.
      const hung = error instanceof Error && 'killed' in error && error.killed === true;
      // Nor do full slots say anything about the command.
      if ((!hung && !/0x90[23]\b/i.test(text)) || attempt === 3) return { ok: false, text };
      if (!hung) await flushTpm(swtpm);
    }
  }
}

/** Flushes transient objects and loaded sessions, whoever has them; what the backend flushes meanwhile is no failure. */
export async function flushTpm(swtpm: TestSwtpm): Promise<void> {
  await flushKind(swtpm, '-t');
  await flushKind(swtpm, '-l');
}

/** Flushes transient objects only. */
export function flushTransient(swtpm: TestSwtpm): Promise<void> {
  return flushKind(swtpm, '-t');
}

async function flushKind(swtpm: TestSwtpm, kind: '-t' | '-l'): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const flushed = await run('tpm2_flushcontext', [kind], { env: swtpm.env, timeout: TIMEOUT_MS }).then(
      () => true,
      () => false,
    );
    if (flushed) break;
  }
}

/** Runs tools one after the other, each with all slots free; throws at the first that fails. */
export async function tpm2Tools(
  swtpm: TestSwtpm,
  commands: readonly (readonly [string, ...string[]])[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<void> {
  for (const command of commands) {
    const { ok, text } = await tpm2Tool(swtpm, command, options);
    if (!ok) throw new Error(`${command.join(' ')}: ${text}`);
    await flushTransient(swtpm);
  }
}

/** Handles of the transient objects that are loaded now. */
export async function transientHandles(swtpm: TestSwtpm): Promise<readonly string[]> {
  const { text } = await tpm2Tool(swtpm, ['tpm2_getcap', 'handles-transient']);
  return text.match(/0x[0-9a-f]+/gi) ?? [];
}
