/** A TCTI over TCP: `swtpm:host=,port=`, whose control channel is the next port. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { EsysConnection } from '../../src/backend/tpm/esys.ts';
import { makeTempDir } from '../support/temp-dir.ts';

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => {
      resolve(false);
    });
    probe.listen(port, '127.0.0.1', () => {
      probe.close(() => {
        resolve(true);
      });
    });
  });
}

async function twoFreePorts(): Promise<number> {
  for (let port = 20_000 + (process.pid % 20_000); port < 60_000; port += 2) {
    if ((await isFree(port)) && (await isFree(port + 1))) return port;
  }
  throw new Error('no two free ports');
}

async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}

test('a TPM over TCP answers, and a port without one is named by its fault', async () => {
  const dir = await makeTempDir();
  const port = await twoFreePorts();
  const swtpm = spawn(
    'swtpm',
    ['socket', '--tpm2', '--tpmstate', `dir=${dir.path}`, '--flags', 'not-need-init,startup-clear'].concat(
      ['--server', `type=tcp,port=${port},bindaddr=127.0.0.1`],
      ['--ctrl', `type=tcp,port=${port + 1},bindaddr=127.0.0.1`],
    ),
    { stdio: 'ignore' },
  );
  try {
    for (let tries = 0; tries < 200 && !(await answers(port)); tries += 1) await delay(25);
    const tcti = `swtpm:host=127.0.0.1,port=${port}`;
    const esys = await EsysConnection.open(tcti);
    expect(await esys.getRandom(16)).toHaveLength(16);
    await esys.close();
  } finally {
    const gone = once(swtpm, 'exit');
    swtpm.kill('SIGKILL');
    await gone;
    await dir.remove();
  }
  await expect(EsysConnection.open(`swtpm:host=127.0.0.1,port=${port}`)).rejects.toMatchObject({
    rc: expect.any(Number) as number,
  });
});
