import { createHash, createPublicKey, verify, type JsonWebKey } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { makeSofthsm, type TestSofthsm } from '../support/softhsm.ts';
import { startSwtpm, type TestSwtpm } from '../support/swtpm.ts';

let softhsm: TestSofthsm;
let tpm: TestSwtpm;
let daemon: TestDaemon;

beforeAll(async () => {
  [softhsm, tpm] = await Promise.all([makeSofthsm(), startSwtpm()]);
  daemon = await startDaemon({ softhsm, tpm });
});

afterAll(async () => {
  await daemon.remove();
  await Promise.all([softhsm.remove(), tpm.stop()]);
});

interface AgentView {
  readonly id: string;
  readonly kid: string;
  readonly publicJwk: JsonWebKey;
}

async function create(name: string, backend: string, algorithm: string): Promise<AgentView> {
  const answer = await daemon.request('POST', '/v1/agents', { name, backend, algorithm });
  expect(answer.text && answer.status).toBe(201);
  return answer.json as AgentView;
}

/** A JWT signed by the agent, verified by node:crypto against the public key that creation told. */
async function expectSigns(agent: AgentView): Promise<void> {
  const answer = await daemon.request('POST', `/v1/agents/${agent.id}/sign/jwt`, {
    typ: 'note+jwt',
    claims: { aud: 'https://api.example', note: 'hello' },
  });
  expect(answer.text && answer.status).toBe(200);
  const [header = '', payload = '', signature = ''] = (answer.json as { jwt: string }).jwt.split('.');
  const { alg } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { alg: string };
  const hash = { ES256: 'sha256', ES384: 'sha384', RS256: 'sha256' }[alg];
  const key = createPublicKey({ key: agent.publicJwk, format: 'jwk' });
  expect(
    verify(
      hash,
      Buffer.from(`${header}.${payload}`),
      { key, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    ),
  ).toBe(true);
}

test.each([
  ['tpm', 'ES256'],
  ['pkcs11', 'ES256'],
  ['pkcs11', 'ES384'],
  ['pkcs11', 'Ed25519'],
  ['pkcs11', 'RS256'],
])('an agent with a key in %s signs with %s', async (backend, algorithm) => {
  const agent = await create(`signs-${backend}-${algorithm.toLowerCase()}`, backend, algorithm);
  await expectSigns(agent);
});

test('an HTTP request is signed with its digest', async () => {
  const agent = await create('http', 'tpm', 'ES256');
  const body = Buffer.from('{"amount":3}');
  const answer = await daemon.request('POST', `/v1/agents/${agent.id}/sign/http-message`, {
    profile: 'rfc9421',
    method: 'POST',
    targetUri: 'https://bank.example/pay',
    headers: [['content-type', 'application/json']],
    body: body.toString('base64url'),
  });
  expect(answer.text && answer.status).toBe(200);
  const { headers } = answer.json as { headers: Record<string, string> };
  expect(headers['content-digest']).toBe(`sha-256=:${createHash('sha256').update(body).digest('base64')}:`);
  expect(headers['signature-input']).toContain(`keyid="${agent.kid}"`);
});

test('keys are found again after a stop, and after kill -9', async () => {
  const agents = [await create('again-tpm', 'tpm', 'ES256'), await create('again-hsm', 'pkcs11', 'ES256')];
  expect(await daemon.stop()).toBe(0);
  await daemon.start();
  for (const agent of agents) await expectSigns(agent);
  await daemon.kill9();
  await daemon.start();
  for (const agent of agents) await expectSigns(agent);
});

test('rotation gives a new key, retirement destroys it and keeps the name', async () => {
  const agent = await create('turns', 'pkcs11', 'ES256');
  const rotated = await daemon.request('POST', '/v1/agents/turns/rotate', {});
  const after = rotated.json as AgentView;
  expect(after.id).toBe(agent.id);
  expect(after.kid).not.toBe(agent.kid);
  await expectSigns(after);
  const retired = await daemon.request('DELETE', '/v1/agents/turns');
  expect([retired.status, retired.text]).toEqual([204, '']);
  expect(retired.headers['agentkeyd-erased']).toMatch(/^hardware;statement="/);
  expect((await daemon.request('GET', `/v1/agents/${agent.id}`)).status).toBe(404);
  const again = await daemon.request('POST', '/v1/agents', { name: 'turns', backend: 'tpm' });
  expect((again.json as { code: string }).code).toBe('name_in_use');
});

test('S15: retiring a TPM key says that copies may remain', async () => {
  await create('blob', 'tpm', 'ES256');
  const retired = await daemon.request('DELETE', '/v1/agents/blob');
  expect(retired.headers['agentkeyd-erased']).toMatch(/^local-copies;statement="/);
});
