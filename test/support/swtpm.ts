/** A real swtpm for one test file, stopped and removed by `stop`. */
import { cp, mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { manufactureSwtpm, startSwtpm as start, swtpmCa, type Startup } from '../../scripts/sandbox/swtpm.ts';
import { makeTempDir } from './temp-dir.ts';

export interface TestSwtpm {
  /** TCTI configuration, the same after every restart. */
  readonly tcti: string;
  readonly dir: string;
  readonly pid: number;
  /** PEM of the test CA that signed the EK certificates; only with `withEkCertificates`. */
  readonly caFile: string;
  readonly issuerFile: string;
  /** Environment for tpm2-tools. */
  readonly env: NodeJS.ProcessEnv;
  /** Ends swtpm and removes its folder if it made it. */
  stop(): Promise<void>;
  /** Power loss: SIGKILL, no TPM2_Shutdown. The folder stays. */
  kill9(): Promise<void>;
  /** Starts again on the same state; kills what still runs. `clear` (TPM Reset or Restart) by default. */
  restart(options?: { readonly startup?: Startup }): Promise<void>;
}

export interface TestSwtpmOptions {
  /** State to use; a new temporary folder if absent. */
  readonly dir?: string;
  /** RSA, P-256 and P-384 EK certificates by the test CA. The state is a copy: all such TPMs have the same seeds. */
  readonly withEkCertificates?: boolean;
  /** Manufacture anew instead of copying: own seeds, own CA. Takes a few seconds. */
  readonly unique?: boolean;
}

const CACHE = fileURLToPath(new URL('../../node_modules/.cache/agentkeyd/', import.meta.url));
const TEMPLATE = join(CACHE, 'swtpm-1');

export async function startSwtpm(options: TestSwtpmOptions = {}): Promise<TestSwtpm> {
  const temp = options.dir === undefined ? await makeTempDir() : undefined;
  const dir = options.dir ?? temp?.path ?? '';
  if (options.withEkCertificates === true && !(await exists(join(dir, 'state')))) {
    if (options.unique === true) await manufactureSwtpm(dir);
    else await cp(await template(), dir, { recursive: true });
  }
  let tpm = await start(dir);
  const ca = swtpmCa(dir);
  return {
    tcti: tpm.tcti,
    dir,
    get pid() {
      return tpm.pid;
    },
    caFile: ca.rootFile,
    issuerFile: ca.issuerFile,
    env: { ...process.env, TPM2TOOLS_TCTI: tpm.tcti },
    async stop() {
      await tpm.end('SIGTERM');
      await temp?.remove();
    },
    async kill9() {
      await tpm.end('SIGKILL');
    },
    async restart({ startup = 'clear' } = {}) {
      await tpm.end('SIGKILL');
      tpm = await start(dir, startup);
    },
  };
}

/** The manufactured state that tests copy; made once, also when test files start at the same time. */
async function template(): Promise<string> {
  if (await exists(TEMPLATE)) return TEMPLATE;
  await mkdir(CACHE, { recursive: true });
  const temp = await makeTempDir();
  await manufactureSwtpm(temp.path);
  const made = await mkdtemp(join(CACHE, 'new-'));
  await cp(temp.path, made, { recursive: true });
  await temp.remove();
  try {
    await rename(made, TEMPLATE);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    if (!(await exists(TEMPLATE))) throw error;
  }
  return TEMPLATE;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
