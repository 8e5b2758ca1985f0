/** The C programs of bench/raw: compiled once, run as processes of their own. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Sample } from './measurement.ts';

const run = promisify(execFile);
const SOURCES = fileURLToPath(new URL('../raw/', import.meta.url));

const PROGRAMS = {
  http_load: [],
  pkcs11_sign: ['-I/usr/include/p11-kit-1', '-ldl', '-lpthread'],
  required_steps: ['-I/usr/include/p11-kit-1', '-ldl', '-lpthread', '-lcrypto'],
  esys_sign: ['-ltss2-esys', '-ltss2-tctildr'],
  agent_sign: ['-lpthread'],
  paced_load: [],
  openssl_sign: ['-lcrypto'],
  slow_tpm: ['-lpthread'],
} as const;

export type RawProgram = keyof typeof PROGRAMS;

/** Compiles all programs into `directory`. */
export async function compileRaw(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, libraries] of Object.entries(PROGRAMS)) {
    const source = join(SOURCES, `${name}.c`);
    await run('gcc', [
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-o',
      join(directory, name),
      source,
      ...libraries,
    ]);
  }
}

interface RawOutput {
  readonly requests: number;
  readonly seconds: number;
  readonly failed?: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly cpu_us?: number;
}

/** Runs one of them. @throws Error where it fails, or where any request did */
export async function runRaw(
  directory: string,
  program: RawProgram,
  args: readonly (string | number)[],
  env: NodeJS.ProcessEnv = {},
): Promise<Sample & { readonly requests: number }> {
  const { stdout, stderr } = await run(join(directory, program), args.map(String), {
    env: { ...process.env, ...env },
  });
  const output = JSON.parse(stdout) as RawOutput;
  if ((output.failed ?? 0) > 0)
    throw new Error(`${program}: ${String(output.failed)} requests failed\n${stderr}`);
  return {
    requests: output.requests,
    opsPerS: output.requests / output.seconds,
    p50Us: output.p50_us,
    p99Us: output.p99_us,
    ...(output.cpu_us === undefined ? {} : { loaderCpuUs: output.cpu_us }),
  };
}
