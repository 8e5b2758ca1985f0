/** S17: a descriptor that some library of the daemon left inheritable is not the module's to use. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readdir, readlink } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { OPERATION, encodeFrame } from '../../../src/backend/pkcs11/module-host-protocol.ts';

const ENTRY = new URL('../../../src/backend/pkcs11/module-host.ts', import.meta.url);
const FLAGS = ['--permission', '--allow-addons', '--allow-fs-read=*'];

it('S17: the module host closes an inherited TPM, file and socket before it takes a request', async () => {
  // A character device stands for /dev/tpmrm0, which tpm2-tss opens without O_CLOEXEC.
  const device = openSync('/dev/zero', 'r');
  const file = openSync(fileURLToPath(ENTRY), 'r');
  const child = spawn(process.execPath, [...FLAGS, fileURLToPath(ENTRY)], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', device, file, 'pipe'],
    env: {},
    cwd: '/',
  });
  try {
    const socket = child.stdio[3] as Duplex;
    const answered = once(socket, 'data');
    // Refused, for there is no token; what counts is that the host is serving.
    socket.write(encodeFrame(1, OPERATION.probe));
    await answered;
    const open = await descriptors(child.pid ?? 0);
    expect(open.filter((target) => target.startsWith('socket:'))).toHaveLength(1);
    expect(open.filter((target) => target.startsWith('/') && target !== '/dev/null')).toEqual([]);
  } finally {
    child.kill('SIGKILL');
    closeSync(device);
    closeSync(file);
  }
}, 20_000);

async function descriptors(pid: number): Promise<readonly string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  return Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`)));
}
