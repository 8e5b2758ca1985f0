/** docs/openapi.yaml against the running daemon: what it answers is what the document says, for every operation. */
import { Agent } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requestOverSocket, type SocketAnswer } from '../support/http-over-socket.ts';
import { answerFaults, described, exampleBody } from '../support/openapi.ts';
import { startSandbox, type TestSandbox } from '../support/sandbox.ts';

let sandbox: TestSandbox;
const keepAlive = new Agent({ keepAlive: true });
/** Operation and status of every answer that was held against the document. */
const seen = new Set<string>();

beforeAll(async () => {
  sandbox = await startSandbox();
}, 180_000);

afterAll(async () => {
  keepAlive.destroy();
  await sandbox.remove();
});

async function call(operationId: string, agent = '', body?: unknown, query = ''): Promise<SocketAnswer> {
  const found = described.find(({ operation }) => operation.operationId === operationId);
  if (found === undefined) throw new Error(`${operationId} is not described`);
  const { socket, adminSocket } = sandbox.description;
  const at = found.operation['x-agentkeyd-sockets'].includes('shared') ? socket : adminSocket;
  const path = `${found.path.replace('{agent}', encodeURIComponent(agent))}${query}`;
  const answer = await requestOverSocket(at, found.method, path, body, { agent: keepAlive });
  expect(answerFaults(operationId, answer), `${operationId} ${answer.status} ${answer.text}`).toEqual([]);
  seen.add(`${operationId} ${answer.status}`);
  return answer;
}

function example(operationId: string): unknown {
  const found = described.find(({ operation }) => operation.operationId === operationId);
  return found === undefined ? undefined : exampleBody(found.operation);
}

test('agents over their life, in TPM and token', async () => {
  for (const backend of ['tpm', 'pkcs11']) {
    const name = `api-${backend}`;
    const made = await call('createAgent', '', { name, backend, algorithm: 'ES256' });
    expect(made.status).toBe(201);
    const { id } = made.json as { id: string };
    expect((await call('createAgent', '', { name, backend })).status).toBe(409);
    expect((await call('showAgent', id)).status).toBe(200);
    expect((await call('listAgents')).status).toBe(200);
    expect((await call('rotateAgent', name, { reason: 'routine' })).status).toBe(200);
    expect((await call('exportTss2', name, {})).status).toBe(backend === 'tpm' ? 200 : 409);
    expect((await call('renewCredentials', name, {})).status).toBe(200);
    const credentials = (await call('showCredentials', name)).json as Record<string, unknown>;
    expect(credentials['wit'] ?? credentials['x509']).not.toBeNull();
    expect((await call('retireAgent', name)).status).toBe(204);
    expect((await call('showAgent', id)).status).toBe(404);
  }
});

test('every signing operation: its example is signed, or refused as policy says', async () => {
  await call('createAgent', '', { name: 'signer', backend: 'tpm', algorithm: 'ES256' });
  await call('renewCredentials', 'signer', {});
  for (const operation of ['signHttpMessage', 'signDpop', 'signJwt', 'signCsr']) {
    expect((await call(operation, 'signer', example(operation))).status).toBe(200);
    expect((await call(operation, 'nobody', example(operation))).status).toBe(404);
    expect((await call(operation, 'signer', { surplus: 1 })).status).toBe(400);
  }
  expect((await call('signRaw', 'signer', example('signRaw'))).status).toBe(403);
  const aauth = { ...(example('signHttpMessage') as object), profile: 'aauth' };
  expect((await call('signHttpMessage', 'signer', aauth)).status).toBe(200);
});

test('sub-agents from delegation to revocation', async () => {
  await call('createAgent', '', { name: 'delegator', backend: 'tpm', algorithm: 'ES256' });
  await call('renewCredentials', 'delegator', {});
  const one = example('delegate') as object;
  expect((await call('delegate', 'delegator', one)).status).toBe(201);
  expect((await call('delegate', 'delegator', one)).status).toBe(409);
  expect((await call('delegate', 'delegator+payer', { ...one, aud: ['*'] })).status).toBe(403);
  const batch = ['a', 'b'].map((name) => ({ ...one, name, expiresIn: 300, maxDepth: 1 }));
  expect((await call('delegate', 'delegator', { batch })).status).toBe(201);
  const { delegations } = (await call('listDelegations', 'delegator')).json as { delegations: unknown[] };
  expect(delegations).toHaveLength(3);
  expect((await call('showAgent', 'delegator+payer')).status).toBe(200);
  expect((await call('showChain', 'delegator+payer')).status).toBe(200);
  expect((await call('revokeDelegation', 'delegator+payer', {})).status).toBe(200);
  expect((await call('revokeDelegation', 'delegator', {})).status).toBe(409);
});

test('budgets, of a root agent and of a sub-agent', async () => {
  await call('createAgent', '', { name: 'payer', backend: 'tpm', algorithm: 'ES256' });
  await call('renewCredentials', 'payer', {});
  expect((await call('topUpBudget', 'payer', example('topUpBudget'))).status).toBe(409);
  const { socket } = sandbox.description;
  const child = await requestOverSocket(socket, 'POST', '/v1/agents/payer/delegations', {
    ...{ name: 'w1', scopes: ['*'], aud: ['*'], constraints: [], expiresIn: 600 },
    budget: [{ unit: 'USD', decimals: 2, amount: 100 }],
  });
  expect(child.status, child.text).toBe(201);
  const topped = await call('topUpBudget', 'payer+w1', example('topUpBudget'));
  expect(topped.json).toMatchObject({ budgets: [{ unit: 'USD', decimals: 2, amount: '2600', spent: '0' }] });
  expect((await call('showBudget', 'payer')).json).toMatchObject({ budgets: [{ amount: '1000000' }] });
  const { entries } = (await call('budgetHistory', 'payer')).json as { entries: readonly unknown[] };
  expect(entries.slice(0, 2)).toMatchObject([
    { event: 'allocated', amounts: [{ amount: '2500' }], other: { name: 'payer+w1' } },
    { event: 'allocated', amounts: [{ amount: '100' }], other: { name: 'payer+w1' } },
  ]);
  expect(entries.at(-1)).toMatchObject({ event: 'ceiling' });
  expect((await call('settleBudget', 'payer', example('settleBudget'))).status).toBe(404);
  expect((await call('budgetHistory', 'nobody')).status).toBe(404);
  expect((await call('acceptRollback', '', {})).status).toBe(409);
});

test('host, status, health and metrics', async () => {
  expect((await call('quote', '', example('quote'))).status).toBe(200);
  expect((await call('enrollHost', '', {})).status).toBe(200);
  expect((await call('adoptTpm', '', {})).status).toBe(200);
  for (const operation of ['status', 'healthz', 'readyz', 'metrics']) {
    expect((await call(operation)).status).toBe(200);
  }
});

test('the audit log: head, entries and proofs', async () => {
  expect((await call('auditCheckpoint')).status).toBe(200);
  const { entries, size } = (await call('auditEntries', '', undefined, '?from=0&limit=3')).json as {
    entries: readonly string[];
    size: number;
  };
  expect(entries).toHaveLength(3);
  expect((await call('auditProof', '', undefined, '?index=1')).json).toMatchObject({ entry: entries[1] });
  expect((await call('auditProof', '', undefined, `?first=3&second=${size}`)).status).toBe(200);
  expect((await call('auditProof', '', undefined, '?index=1&first=2')).status).toBe(400);
  expect((await call('auditProof', '', undefined, '?index=999999999')).status).toBe(404);
});

test('policy and approvals: what there is', async () => {
  const { fingerprint, version } = (await call('showPolicy')).json as {
    fingerprint: string;
    version: number;
  };
  expect((await call('reloadPolicy')).json).toMatchObject({ fingerprint, version: version + 1 });
  expect((await call('listApprovals')).status).toBe(200);
});

/** Need a person of another uid: test/e2e/approvals.test.ts holds their answers against the document. */
const BY_ANOTHER_PERSON = ['collectApproval', 'allowApproval', 'denyApproval'];

test('every operation was seen to succeed, but for raw signing, which is off, and where nothing is wrong', () => {
  const succeeded = new Set(
    [...seen].filter((entry) => / 2\d\d$/.test(entry)).map((entry) => entry.split(' ')[0]),
  );
  const missing = described.map(({ operation }) => operation.operationId).filter((id) => !succeeded.has(id));
  expect(missing.toSorted()).toEqual(
    ['signRaw', 'settleBudget', 'acceptRollback', ...BY_ANOTHER_PERSON].toSorted(),
  );
});
