/**
 * More than the hardware can do, for long: memory stays flat, nobody who was let in is timed out, and when it ends
 * the next request is served at once. Half a minute of it unless AGENTKEYD_SOAK=1 (ten).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lasting, startSlowTpm, type SlowTpm } from '../../scripts/sandbox/slow-tpm.ts';
import { startBusyCaller, type BusyCaller } from '../support/busy-caller.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { requestAs } from '../support/http-over-socket.ts';
import { makeSofthsm, type TestSofthsm } from '../support/softhsm.ts';
import { startSwtpm, type TestSwtpm } from '../support/swtpm.ts';

const IS_SOAK = process.env['AGENTKEYD_SOAK'] === '1';
const OVERLOAD_MS = IS_SOAK ? 10 * 60_000 : 20_000;
const WARM_UP_MS = IS_SOAK ? 60_000 : 10_000;
const SIGN_MS = 30;
/** Of the whole process, after the warm-up; in its first minute a heap grows to its size for the load. */
const MAX_GROWTH_MIB = IS_SOAK ? 64 : 192;
const BACKENDS = ['tpm', 'pkcs11'] as const;
const FLOOD_UID = 41_001;
const OTHER_UID = 41_002;

let swtpm: TestSwtpm;
let tpm: SlowTpm;
let softhsm: TestSofthsm;
let daemon: TestDaemon;
const callers: BusyCaller[] = [];

beforeAll(async () => {
  swtpm = await startSwtpm();
  tpm = await startSlowTpm({
    tpmSocket: join(swtpm.dir, 'tpm'),
    socket: join(swtpm.dir, 'slow'),
    hold: lasting(SIGN_MS),
  });
  softhsm = await makeSofthsm();
  daemon = await startDaemon({
    tpm,
    softhsm,
    config: {
      log: { level: 'info' },
      policy: {
        create: [{ uids: [FLOOD_UID, OTHER_UID], names: ['*'] }],
        roles: { operate: [{ uids: [0] }] },
        jwt_types: ['*'],
      },
    },
  });
  await chmod(daemon.dir, 0o711);
  await chmod(daemon.socketPath, 0o666);
});
afterAll(async () => {
  for (const caller of callers) await caller.kill();
  await daemon.remove();
  await tpm.stop();
  await softhsm.remove();
  await swtpm.stop();
});

const agent = (uid: number, backend: string): string => `${backend}-${uid}`;

async function makeAgents(uid: number): Promise<void> {
  for (const backend of BACKENDS) {
    const request = { name: agent(uid, backend), backend, algorithm: 'ES256' };
    expect((await requestAs(uid, daemon.socketPath, 'POST', '/v1/agents', request)).status).toBe(201);
  }
}

interface Size {
  readonly memoryMiB: number;
  readonly files: number;
}

function size(): Size {
  const pid = daemon.pid ?? 0;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    memoryMiB: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? NaN) / 1024,
    files: readdirSync(`/proc/${pid}/fd`).length,
  };
}

test(
  'S20: overload leaves nothing behind: flat memory, no timeout of whatever was let in, and recovery at once',
  async () => {
    await makeAgents(FLOOD_UID);
    await makeAgents(OTHER_UID);
    const idle = size();
    // Both backends flooded by one, used steadily by another.
    for (const backend of BACKENDS) {
      callers.push(startBusyCaller(FLOOD_UID, daemon.socketPath, agent(FLOOD_UID, backend), 100));
      callers.push(startBusyCaller(OTHER_UID, daemon.socketPath, agent(OTHER_UID, backend), 1));
    }
    await delay(WARM_UP_MS);
    const warm = size();
    await delay(OVERLOAD_MS);
    const after = size();
    const { memoryMiB } = after;
    const statuses = Object.entries(
      Object.groupBy(
        callers.flatMap(({ answers }) => answers),
        (status) => status,
      ),
    );
    const answers = Object.fromEntries(statuses.map(([status, all]) => [status, all?.length]));
    process.stderr.write(`${JSON.stringify({ idle, warm, after, answers })}\n`);
    expect(Object.keys(answers)).toEqual(['200']);
    for (const caller of callers) expect(caller.answers.length).toBeGreaterThan(10);
    expect(memoryMiB - warm.memoryMiB).toBeLessThan(MAX_GROWTH_MIB);

    for (const caller of callers) await caller.kill();
    const sample = { htm: 'GET', htu: 'https://api.example/read' };
    for (const backend of BACKENDS) {
      const path = `/v1/agents/${agent(OTHER_UID, backend)}/sign/dpop`;
      expect((await requestAs(OTHER_UID, daemon.socketPath, 'POST', path, sample)).status).toBe(200);
    }
    const { json } = await daemon.admin('GET', '/v1/status');
    expect((json as { queue: unknown }).queue).toEqual({ waiting: 0, running: 0 });
    // No connection is left open; the audit log may have gone on in further files.
    await expect.poll(() => size().files).toBeLessThan(idle.files + 32);
  },
  OVERLOAD_MS + WARM_UP_MS + 120_000,
);
