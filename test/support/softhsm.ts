/** A real SoftHSM token for one test file, and backends over it; all removed by `remove`. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeSofthsmToken, type SofthsmToken } from '../../scripts/sandbox/softhsm.ts';
import type { Pkcs11BackendOptions } from '../../src/backend/pkcs11/options.ts';
import { openPkcs11Backend, type Pkcs11Backend } from '../../src/backend/pkcs11/pkcs11-backend.ts';
import { openPinFailureFile } from '../../src/backend/pkcs11/pin-failure-file.ts';
import { makeTempDir } from './temp-dir.ts';

export const USER_PIN = '648219';
export const SO_PIN = '90817263';
const READY_TIMEOUT_MS = 30_000;

export interface TestSofthsm extends SofthsmToken {
  readonly dir: string;
  /** File of refused PINs. */
  readonly pinFailures: string;
  /** Environment for pkcs11-tool and softhsm2-util. */
  readonly env: NodeJS.ProcessEnv;
  /** Options of a backend over this token, as a daemon would have them after every restart. */
  options(more?: Partial<Pkcs11BackendOptions>): Pkcs11BackendOptions;
  /** Opens a backend and waits until it is ready. */
  open(more?: Partial<Pkcs11BackendOptions>): Promise<Pkcs11Backend>;
  remove(): Promise<void>;
}

export async function makeSofthsm(): Promise<TestSofthsm> {
  const temp = await makeTempDir();
  const token = await makeSofthsmToken(temp.path, {
    tokenLabel: 'agentkeyd test',
    userPin: USER_PIN,
    soPin: SO_PIN,
  });
  const pinHashKey = randomBytes(32);
  const pinFailures = join(temp.path, 'refused-pins');
  const options = (more: Partial<Pkcs11BackendOptions> = {}): Pkcs11BackendOptions => ({
    module: token.module,
    tokenLabel: token.tokenLabel,
    pin: Buffer.from(USER_PIN),
    pinFailures: openPinFailureFile(pinFailures),
    pinHashKey,
    softhsm2Conf: token.conf,
    rsaModulusBits: 2048,
    ...more,
  });
  return {
    ...token,
    dir: temp.path,
    pinFailures,
    env: { ...process.env, SOFTHSM2_CONF: token.conf },
    options,
    async open(more) {
      const backend = await openPkcs11Backend(options(more));
      await untilReady(backend);
      return backend;
    },
    remove: () => temp.remove(),
  };
}

/** Waits until the backend is ready; fails with its fault if it does not become so. */
export async function untilReady(backend: Pkcs11Backend, timeoutMs = READY_TIMEOUT_MS): Promise<void> {
  await untilState(backend, 'ready', timeoutMs);
}

export async function untilState(
  backend: Pkcs11Backend,
  state: 'starting' | 'ready' | 'unavailable',
  timeoutMs = READY_TIMEOUT_MS,
): Promise<void> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    const description = await backend.describe();
    if (description.state === state) return;
    if (Date.now() > until)
      throw new Error(`the backend is ${description.state}: ${description.fault ?? 'no fault'}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** State letter of a process (proc(5)): R, S, T for stopped; undefined when it is gone. */
export async function processState(pid: number): Promise<string | undefined> {
  try {
    return /\) (\w)/.exec(await readFile(`/proc/${pid}/stat`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
