/**
 * A host whose TPM takes its time: swtpm behind a relay that holds every signature, a SoftHSM token, and a daemon
 * with its default limits that two users call.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeSofthsm } from '../../test/support/softhsm.ts';
import { requestAs } from '../../test/support/http-over-socket.ts';
import { startDaemon, type TestDaemon } from '../../test/support/daemon.ts';
import { startSwtpm } from '../../scripts/sandbox/swtpm.ts';
import { startSlowTpm, type SlowTpm } from './slow-tpm.ts';

/** Users of this machine by number only: no name is needed. */
export const FLOOD_UID = 41_001;
export const LIGHT_UID = 41_002;

export type Backend = 'tpm' | 'pkcs11';

export interface SlowHost {
  readonly daemon: TestDaemon;
  readonly tpm: SlowTpm;
  /** File with the one request that `uid` repeats to its agent on `backend`. */
  requestFile(uid: number, backend: Backend): string;
  stop(): Promise<void>;
}

const REQUEST = { htm: 'GET', htu: 'https://bench.example/read' };

/** @param programs where those of bench/raw were compiled to */
export async function startSlowHost(programs: string, dir: string, signMs: number): Promise<SlowHost> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    await mkdir(dir, { recursive: true, mode: 0o711 });
    const swtpm = await startSwtpm(dir);
    stops.push(() => swtpm.end('SIGTERM'));
    const tpm = await startSlowTpm({
      programs,
      tpmSocket: join(dir, 'tpm'),
      socket: join(dir, 'slow'),
      signMs,
    });
    stops.push(() => tpm.stop());
    const softhsm = await makeSofthsm();
    stops.push(() => softhsm.remove());
    const uids = [FLOOD_UID, LIGHT_UID];
    const daemon = await startDaemon({
      tpm,
      softhsm,
      config: {
        log: { level: 'info' },
        policy: { create: [{ uids, names: ['*'] }], roles: { operate: [{ uids: [0] }] }, jwt_types: ['*'] },
      },
    });
    stops.push(() => daemon.remove());
    await chmod(daemon.dir, 0o711);
    await chmod(daemon.socketPath, 0o666);
    for (const uid of uids) {
      for (const backend of ['tpm', 'pkcs11'] as const) await prepare(dir, daemon, uid, backend);
    }
    return { daemon, tpm, requestFile: (uid, backend) => requestFile(dir, uid, backend), stop };
  } catch (thrown) {
    await stop();
    throw thrown;
  }
}

const requestFile = (dir: string, uid: number, backend: Backend): string =>
  join(dir, `${uid}-${backend}.http`);

async function prepare(dir: string, daemon: TestDaemon, uid: number, backend: Backend): Promise<void> {
  const name = `${backend}-${uid}`;
  const made = await requestAs(uid, daemon.socketPath, 'POST', '/v1/agents', {
    name,
    backend,
    algorithm: 'ES256',
  });
  if (made.status !== 201) throw new Error(`no agent for ${uid}: ${JSON.stringify(made.json)}`);
  const body = JSON.stringify(REQUEST);
  const head = [
    `POST /v1/agents/${name}/sign/dpop HTTP/1.1`,
    'host: agentkeyd',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
  ];
  await writeFile(requestFile(dir, uid, backend), `${head.join('\r\n')}\r\n\r\n${body}`, { mode: 0o644 });
}
