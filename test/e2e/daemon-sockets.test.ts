/** Which socket gives whom what: S10, S11, DECISIONS 7 and 8, and repetitions (S12). */
import { existsSync, statSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { requestAs, requestOverSocket, type SocketAnswer } from '../support/http-over-socket.ts';
import { makeSofthsm, type TestSofthsm } from '../support/softhsm.ts';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

const OTHER_UID = 4321;
const isRoot = process.getuid?.() === 0;
const JWT = { typ: 'note+jwt', claims: { aud: 'https://api.example' } };

let softhsm: TestSofthsm;
let temp: TempDir;
let daemon: TestDaemon;

beforeAll(async () => {
  softhsm = await makeSofthsm();
  temp = await makeTempDir();
  await chmod(temp.path, 0o711);
  const at = (name: string): string => join(temp.path, name);
  await mkdir(at('admin'));
  await chmod(at('admin'), 0o711);
  daemon = await startDaemon({
    softhsm,
    config: {
      sockets: {
        shared: at('s'),
        shared_mode: '0666',
        admin: at('admin/s'),
        admin_mode: '0666',
        agents_directory: at('agents'),
        agents_mode: '0666',
        agents: ['worker-*'],
      },
    },
    paths: { shared: at('s'), admin: at('admin/s') },
  });
});

afterAll(async () => {
  await daemon.remove();
  await softhsm.remove();
  await temp.remove();
});

function agentSocket(name: string): string {
  return join(temp.path, 'agents', name, 'agentkeyd.sock');
}

function code(answer: { readonly json: unknown }): unknown {
  return (answer.json as { readonly code?: unknown } | undefined)?.code;
}

async function create(name: string, more: object = {}): Promise<SocketAnswer> {
  const answer = await daemon.admin('POST', '/v1/agents', { name, backend: 'pkcs11', ...more });
  expect(answer.text && answer.status).toBe(201);
  return answer;
}

test('S11: each socket has a directory of its own and serves only what is its own', async () => {
  await create('apart');
  expect((await daemon.request('POST', '/v1/host/enroll', {})).status).toBe(404);
  expect((await daemon.request('POST', '/v1/agents/apart/export-tss2', {})).status).toBe(404);
  expect((await daemon.admin('POST', '/v1/agents/apart/sign/jwt', JWT)).status).toBe(404);
  expect((await daemon.admin('POST', '/v1/attestation/quote', {})).status).toBe(404);
});

test('S11: an agent’s socket serves that agent and no other', async () => {
  await create('worker-1');
  await create('worker-2');
  await create('idle');
  await expect.poll(() => existsSync(agentSocket('worker-2'))).toBe(true);
  expect(existsSync(agentSocket('idle'))).toBe(false);
  const ask = (method: string, path: string, body?: unknown): Promise<SocketAnswer> =>
    requestOverSocket(agentSocket('worker-1'), method, path, body);
  expect((await ask('POST', '/v1/agents/worker-1/sign/jwt', JWT)).status).toBe(200);
  const listed = (await ask('GET', '/v1/agents')).json as { agents: { name: string }[] };
  expect(listed.agents.map(({ name }) => name)).toEqual(['worker-1']);
  const second = ((await daemon.request('GET', '/v1/agents/worker-2')).json as { id: string }).id;
  for (const other of ['worker-2', second, 'idle']) {
    const answer = await ask('POST', `/v1/agents/${other}/sign/jwt`, JWT);
    expect([403, 404]).toContain(answer.status);
    expect([403, 404]).toContain((await ask('GET', `/v1/agents/${other}`)).status);
  }
  expect((await ask('POST', '/v1/agents', { name: 'worker-3', backend: 'pkcs11' })).status).toBe(405);
  expect((await ask('DELETE', '/v1/agents/worker-1')).status).toBe(405);
  expect((await ask('POST', '/v1/agents/worker-1/rotate', {})).status).toBe(404);
  expect((await ask('GET', '/metrics')).status).toBe(404);
});

test('DECISIONS 8: the directory that a container mounts stays over a restart and goes with its agent', async () => {
  await create('worker-mounted');
  await expect.poll(() => existsSync(agentSocket('worker-mounted'))).toBe(true);
  const folder = join(temp.path, 'agents', 'worker-mounted');
  const { ino } = statSync(folder);
  await daemon.stop();
  expect(statSync(folder).ino).toBe(ino);
  await mkdir(join(temp.path, 'agents', 'left-over'));
  await daemon.start();
  expect(statSync(folder).ino).toBe(ino);
  expect(existsSync(join(temp.path, 'agents', 'left-over'))).toBe(false);
  const signed = await requestOverSocket(
    agentSocket('worker-mounted'),
    'POST',
    '/v1/agents/worker-mounted/sign/jwt',
    JWT,
  );
  expect(signed.status).toBe(200);
  await daemon.kill9();
  await daemon.start();
  expect((await requestOverSocket(agentSocket('worker-mounted'), 'GET', '/healthz')).status).toBe(200);
  await daemon.admin('DELETE', '/v1/agents/worker-mounted');
  await expect.poll(() => existsSync(folder)).toBe(false);
});

test('S11: an agent socket tells nothing of the host but that the daemon is well', async () => {
  await create('worker-contained');
  await expect.poll(() => existsSync(agentSocket('worker-contained'))).toBe(true);
  const ask = (path: string) => requestOverSocket(agentSocket('worker-contained'), 'GET', path);
  expect((await ask('/healthz')).status).toBe(200);
  for (const path of ['/v1/status', '/metrics']) expect((await ask(path)).status).toBe(404);
});

test.skipIf(!isRoot)('S10: uid 0 has no right of its own on shared and agent sockets', async () => {
  await create('worker-owned', { ownerUid: OTHER_UID });
  await expect.poll(() => existsSync(agentSocket('worker-owned'))).toBe(true);
  for (const path of [daemon.socketPath, agentSocket('worker-owned')]) {
    const asRoot = await requestOverSocket(path, 'POST', '/v1/agents/worker-owned/sign/jwt', JWT);
    expect([403, 404]).toContain(asRoot.status);
    const asOwner = await requestAs(OTHER_UID, path, 'POST', '/v1/agents/worker-owned/sign/jwt', JWT);
    expect(asOwner.status).toBe(200);
    const asAnother = await requestAs(OTHER_UID + 1, path, 'POST', '/v1/agents/worker-owned/sign/jwt', JWT);
    expect([403, 404]).toContain(asAnother.status);
  }
});

test.skipIf(!isRoot)(
  'S6: who may not create, rotate or retire a name is refused on the shared socket',
  async () => {
    const made = await requestAs(OTHER_UID, daemon.socketPath, 'POST', '/v1/agents', {
      name: 'mine',
      backend: 'pkcs11',
    });
    expect([made.status, code(made)]).toEqual([403, 'name_not_permitted']);
    await create('theirs', { ownerUid: OTHER_UID });
    for (const [method, path, body] of [
      ['DELETE', '/v1/agents/theirs', undefined],
      ['POST', '/v1/agents/theirs/rotate', {}],
    ] as const) {
      expect((await requestAs(OTHER_UID, daemon.socketPath, method, path, body)).status).toBe(403);
    }
    expect((await requestAs(OTHER_UID, daemon.socketPath, 'GET', '/v1/agents/theirs')).status).toBe(200);
  },
);

test.skipIf(!isRoot)(
  'S11: the admin socket asks for the role of each request, and records who asked',
  async () => {
    const refused = await requestAs(OTHER_UID, daemon.adminSocketPath, 'GET', '/v1/agents');
    expect([refused.status, code(refused)]).toEqual([403, 'policy_denied']);
    await create('recorded');
    const lines = daemon
      .log()
      .split('\n')
      .filter((line) => line.includes('admin call answered') && line.includes('createAgent'));
    expect(JSON.parse(lines.at(-1) ?? '{}')).toMatchObject({
      operation: 'createAgent',
      status: 201,
      caller: { uid: 0, pid: process.pid },
    });
  },
);

test('S12: a creation repeated under its key is the same creation, even after a crash', async () => {
  const body = { name: 'once', backend: 'pkcs11' };
  const headers = { 'idempotency-key': 'create-once' };
  const first = await daemon.request('POST', '/v1/agents', body, { headers });
  expect(first.status).toBe(201);
  await daemon.kill9();
  await daemon.start();
  const again = await daemon.request('POST', '/v1/agents', body, { headers });
  expect([again.status, again.text]).toEqual([201, first.text]);
  const other = await daemon.request('POST', '/v1/agents', { ...body, name: 'twice' }, { headers });
  expect([other.status, code(other)]).toEqual([422, 'idempotency_mismatch']);
  const elsewhere = await daemon.admin('POST', '/v1/agents', body, { headers });
  expect([elsewhere.status, code(elsewhere)]).toEqual([409, 'name_in_use']);
});

test('what is logged holds no secret, token or signed JWT', async () => {
  const { jwt } = (await daemon.request('POST', '/v1/agents/apart/sign/jwt', JWT)).json as { jwt: string };
  expect(daemon.log()).not.toContain(jwt.split('.')[2]);
  expect(daemon.log()).not.toMatch(/eyJ[A-Za-z0-9_-]{20}/);
});
