/**
 * A private software TPM on Unix sockets: manufacture (EK certificates from a private test CA) and
 * start. Layout of `dir`: `state/`, `ca/`, `etc/`, and while it runs `tpm` and `tpm.ctrl`.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { exists } from './exists.ts';

const run = promisify(execFile);

/** sun_path holds 108 octets with its NUL; `.ctrl` has to fit too. */
const MAX_SOCKET_PATH = 102;
const START_TIMEOUT_MS = 10_000;
const TOOL_TIMEOUT_MS = 60_000;

/** NV index of the P-256 EK certificate (TCG EK Credential Profile, template L-2); swtpm_setup makes none. */
const EK_P256_CERTIFICATE_INDEX = '0x1c0000a';

/** What TPM2_Startup does when the simulator starts: `clear` is Reset or Restart, `state` is Resume. */
export type Startup = 'clear' | 'state';

export interface Swtpm {
  /** TCTI configuration for ESYS and tpm2-tools. */
  readonly tcti: string;
  readonly pid: number;
  readonly exited: boolean;
  /** Ends the process with `signal` and waits until it is gone. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** The test CA of a manufactured TPM: root and intermediate, PEM files. */
export function swtpmCa(dir: string): { readonly rootFile: string; readonly issuerFile: string } {
  return {
    rootFile: join(dir, 'ca', 'swtpm-localca-rootca-cert.pem'),
    issuerFile: join(dir, 'ca', 'issuercert.pem'),
  };
}

/**
 * Makes a new TPM below `dir` with EK certificates for RSA-2048 (0x1C00002), P-384 (0x1C00016) and
 * P-256 (0x1C0000A) by a new private CA; /var/lib/swtpm-localca is never used.
 */
export async function manufactureSwtpm(dir: string): Promise<void> {
  const at = (...parts: string[]): string => join(dir, ...parts);
  for (const folder of ['state', 'ca', 'etc']) await mkdir(at(folder), { recursive: true, mode: 0o700 });
  await writeFile(
    at('etc', 'setup.conf'),
    `create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = ${at('etc', 'localca.conf')}\n` +
      `create_certs_tool_options = ${at('etc', 'localca.options')}\nactive_pcr_banks = sha256\n`,
  );
  await writeFile(
    at('etc', 'localca.conf'),
    `statedir = ${at('ca')}\nsigningkey = ${at('ca', 'signkey.pem')}\n` +
      `issuercert = ${at('ca', 'issuercert.pem')}\ncertserial = ${at('ca', 'certserial')}\n`,
  );
  await writeFile(
    at('etc', 'localca.options'),
    '--platform-manufacturer Test\n--platform-version 1.0\n--platform-model swtpm\n',
  );
  await run(
    'swtpm_setup',
    ['--tpm2', '--config', at('etc', 'setup.conf'), '--tpm-state', at('state'), '--create-ek-cert'].concat([
      '--create-platform-cert',
      '--lock-nvram',
      '--pcr-banks',
      'sha1,sha256,sha384',
      '--overwrite',
    ]),
    { timeout: TOOL_TIMEOUT_MS },
  );
  const tpm = await startSwtpm(dir);
  try {
    await mintP256EkCertificate(dir, tpm.tcti);
  } finally {
    await tpm.end('SIGTERM');
  }
}

/** Starts the simulator on `dir/tpm`; a blank state is made where there is none. It dies with this process. */
export async function startSwtpm(dir: string, startup: Startup = 'clear'): Promise<Swtpm> {
  const socket = join(dir, 'tpm');
  if (socket.length > MAX_SOCKET_PATH) throw new RangeError(`the socket path is too long: ${socket}`);
  await mkdir(join(dir, 'state'), { recursive: true, mode: 0o700 });
  for (const path of [socket, `${socket}.ctrl`]) await rm(path, { force: true });
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'TERM', 'swtpm', 'socket', '--tpm2', '--tpmstate', `dir=${join(dir, 'state')}`].concat(
      ['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
      // It would tell of each connection that ends, which is one for each command, and wake whoever reads it.
      ['--flags', `not-need-init,startup-${startup}`, '--log', 'file=-'],
    ),
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-2000)));
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await accepts(socket)) || !(await exists(`${socket}.ctrl`))) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
      await end(child, 'SIGKILL');
      throw new Error(`swtpm did not start, exit code ${String(child.exitCode)}: ${stderr}`);
    }
    await delay(10);
  }
  const { pid } = child;
  if (pid === undefined) throw new Error('swtpm has no process id');
  return {
    tcti: `swtpm:path=${socket}`,
    pid,
    get exited() {
      return child.exitCode !== null || child.signalCode !== null;
    },
    end: (signal) => end(child, signal),
  };
}

async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

async function mintP256EkCertificate(dir: string, tcti: string): Promise<void> {
  const etc = join(dir, 'etc');
  const tool = (name: string, ...args: string[]): Promise<unknown> =>
    run(name, args, { cwd: etc, timeout: TOOL_TIMEOUT_MS, env: { ...process.env, TPM2TOOLS_TCTI: tcti } });
  await tool('tpm2_createek', '-G', 'ecc', '-c', 'ek.ctx', '-u', 'ek.pub');
  await tool('tpm2_flushcontext', '-t');
  // TPM2B_PUBLIC ends with unique = TPMS_ECC_POINT: size, x, size, y, 32 octets each.
  const point = (await readFile(join(etc, 'ek.pub'))).subarray(-68);
  const [x, y] = [point.toString('hex', 2, 34), point.toString('hex', 36, 68)];
  await tool(
    'swtpm_localca',
    ...['--type', 'ek', '--ek', `x=${x},y=${y},id=secp256r1`, '--dir', etc, '--tpm2'],
    ...['--tpm-spec-family', '2.0', '--tpm-spec-level', '0', '--tpm-spec-revision', '164'],
    ...['--tpm-manufacturer', 'id:00001014', '--tpm-model', 'swtpm', '--tpm-version', 'id:20191023'],
    ...['--configfile', join(etc, 'localca.conf'), '--optsfile', join(etc, 'localca.options')],
  );
  const certificate = join(etc, 'ek.cert');
  const { size } = await stat(certificate);
  const attributes = 'ppwrite|ppread|ownerread|authread|no_da|writedefine|platformcreate';
  const index = EK_P256_CERTIFICATE_INDEX;
  await tool('tpm2_nvdefine', index, '-C', 'p', '-s', String(size), '-a', attributes);
  await tool('tpm2_nvwrite', index, '-C', 'p', '-i', certificate);
  await tool('tpm2_nvwritelock', index, '-C', 'p');
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
