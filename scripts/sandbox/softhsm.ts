/**
 * A private SoftHSM token: its own directory and configuration, nothing of /var/lib/softhsm. Layout of
 * `dir`: `softhsm2.conf`, `tokens/`. Processes reach it through the environment variable SOFTHSM2_CONF.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const TOOL_TIMEOUT_MS = 30_000;

/** Where Debian and its relatives install the module. */
const MODULE_PATHS = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
];

/** What makes one token. */
export interface SofthsmOptions {
  readonly tokenLabel: string;
  readonly userPin: string;
  readonly soPin: string;
}

/** A made token, as a backend's configuration names it. */
export interface SofthsmToken {
  /** Path of the PKCS#11 module. */
  readonly module: string;
  /** Value of SOFTHSM2_CONF. */
  readonly conf: string;
  /** Directory that holds one directory per token; gone = the token is unplugged. */
  readonly tokenDir: string;
  readonly tokenLabel: string;
}

/** Path of the installed SoftHSM module. */
export async function softhsmModule(): Promise<string> {
  for (const path of MODULE_PATHS) {
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new Error('SoftHSM is not installed: apt-get install softhsm2');
}

/**
 * Makes an empty token below `dir`, which may hold others already.
 * @param kept the token is there already: only its configuration is written anew
 */
export async function makeSofthsmToken(
  dir: string,
  options: SofthsmOptions,
  kept = false,
): Promise<SofthsmToken> {
  const module = await softhsmModule();
  const conf = join(dir, 'softhsm2.conf');
  const tokenDir = join(dir, 'tokens');
  await mkdir(tokenDir, { recursive: true, mode: 0o700 });
  await writeFile(
    conf,
    [`directories.tokendir = ${tokenDir}`, 'objectstore.backend = file', 'log.level = ERROR', ''].join('\n'),
  );
  const made = { module, conf, tokenDir, tokenLabel: options.tokenLabel };
  if (kept) return made;
  await run(
    'softhsm2-util',
    // The tool takes its PINs by argument only: these are a test token's, known to all.
    ['--init-token', '--free', '--label', options.tokenLabel, '--pin', options.userPin].concat([
      '--so-pin',
      options.soPin,
    ]),
    { timeout: TOOL_TIMEOUT_MS, env: { ...process.env, SOFTHSM2_CONF: conf } },
  );
  return made;
}

/** How a token names itself, for an operator's register. */
export interface SofthsmTokenFacts {
  readonly manufacturer: string;
  readonly model: string;
  readonly serial: string;
}

/** The facts of a token, as softhsm2-util tells them. */
export async function softhsmTokenFacts({ conf, tokenLabel }: SofthsmToken): Promise<SofthsmTokenFacts> {
  const { stdout } = await run('softhsm2-util', ['--show-slots'], {
    timeout: TOOL_TIMEOUT_MS,
    env: { ...process.env, SOFTHSM2_CONF: conf },
  });
  const slot = stdout
    .split(/^Slot /m)
    .find((text) => new RegExp(`Label:\\s+${tokenLabel}\\s*$`, 'm').test(text));
  const field = (name: string): string =>
    new RegExp(`^\\s+${name}:\\s+(.*?)\\s*$`, 'm').exec(tokenPart(slot))?.[1] ?? '';
  return { manufacturer: field('Manufacturer ID'), model: field('Model'), serial: field('Serial number') };
}

/** The slot's own manufacturer comes first in the listing; only the token's counts. */
function tokenPart(slot: string | undefined): string {
  const at = slot?.indexOf('Token info:') ?? -1;
  if (slot === undefined || at < 0) throw new Error('softhsm2-util shows no such token');
  return slot.slice(at);
}
