/** A daemon with a real TPM and issuer that asks an external decision point: both must permit. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { DENY, PERMIT, startDecisionPoint, type TestDecisionPoint } from '../support/decision-point.ts';
import { codeOfAnswer, PAYEE, startGatedHost, type GatedHost } from '../support/gated-host.ts';

const TOKEN = randomBytes(24).toString('hex');
let host: GatedHost;
let point: TestDecisionPoint;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'akd-'));
  await writeFile(join(folder, 'token'), `${TOKEN}\n`, { mode: 0o600 });
  point = await startDecisionPoint({ socketPath: join(folder, 'pdp') });
  host = await startGatedHost({
    socket: join(folder, 'pdp'),
    token: { file: join(folder, 'token') },
    // No test waits for it but the one that means to.
    deadline_ms: 4000,
  });
  await host.agent('payments');
  await host.agent('reader');
}, 120_000);
afterAll(async () => {
  await host.remove();
  await point.stop();
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  point.answer = PERMIT;
});

it('is asked with what policies may read, and named in the record', async () => {
  const before = point.asked.length;
  expect(codeOfAnswer(await host.pay('12.50'))).toBe('signed');
  const asked = point.asked[before];
  expect(point.asked.length - before).toBe(1);
  expect(asked?.url).toBe('/access/v1/evaluation');
  expect(asked?.headers.authorization).toBe(`Bearer ${TOKEN}`);
  expect(asked?.json).toMatchObject({
    subject: { type: 'Caller', properties: { uid: process.getuid?.(), ingress: 'shared' } },
    action: {
      name: 'http-message',
      properties: {
        path: '/v1/payments',
        body: { members: { '/amount': 12.5, '/payee': PAYEE } },
      },
    },
    resource: { type: 'Agent', id: 'payments', properties: { backend: 'tpm' } },
    context: {
      host: { label: 'node-1' },
      attestation: { status: 'good' },
      authority: { principal: 'alice@example.test', chain: ['payments'] },
      charges: [{ kind: 'budget', unit: 'USD.2', amount: '1250' }],
    },
  });
  const last = (await host.decisions()).at(-1);
  expect(last?.effect).toBe('permit');
  expect(last?.policies.at(-1)).toBe('decision-point');
  expect(last?.policies).toContain('pay');
});

it('is asked before anything is reserved', async () => {
  const before = await host.budget();
  let meanwhile: unknown;
  point.answer = (response, asked) => {
    void host.budget().then((state) => {
      meanwhile = state;
      PERMIT(response, asked);
    });
  };
  expect(codeOfAnswer(await host.pay('1.00'))).toBe('signed');
  expect(meanwhile).toEqual(before);
  expect(Number((await host.budget()).spent) - Number(before.spent)).toBe(100);
});

it('denies what it does not permit, at no cost and on record', async () => {
  const before = await host.budget();
  point.answer = DENY;
  const answer = await host.pay('1.00');
  expect([answer.status, codeOfAnswer(answer)]).toEqual([403, 'decision_point_denied']);
  expect(await host.budget()).toEqual(before);
  expect((await host.decisions()).at(-1)).toMatchObject({
    effect: 'deny',
    policies: ['decision-point'],
    refusal: 'decision_point_denied',
  });
});

it('is not asked about what the policies deny', async () => {
  const before = point.asked.length;
  const answer = await host.pay('1.00', { targetUri: 'https://bank.example/v1/other' });
  expect(codeOfAnswer(answer)).toBe('policy_denied');
  expect(point.asked.length).toBe(before);
});

it('is asked about every way to a signature', async () => {
  const before = point.asked.length;
  point.answer = DENY;
  const ask = (path: string, body: unknown) =>
    host.daemon.request('POST', `/v1/agents/reader/${path}`, body).then(codeOfAnswer);
  expect(await ask('sign/dpop', { htm: 'GET', htu: 'https://api.example/' })).toBe('decision_point_denied');
  expect(await ask('sign/jwt', { typ: 'x+jwt', claims: { aud: 'https://api.example' } })).toBe(
    'decision_point_denied',
  );
  expect(await ask('sign/csr', {})).toBe('decision_point_denied');
  const terms = {
    name: 'w',
    scopes: ['read'],
    aud: ['https://api.example'],
    constraints: [],
    expiresIn: 600,
  };
  expect(await ask('delegations', terms)).toBe('decision_point_denied');
  expect(point.asked.slice(before).map(({ json }) => json.action.name)).toEqual([
    'dpop',
    'jwt',
    'csr',
    'delegate',
  ]);
});

it('denies where it gives no answer that can be used, and permits again when it does', async () => {
  const before = await host.budget();
  point.answer = (response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
  };
  const late = await host.pay('1.00');
  expect([late.status, codeOfAnswer(late)]).toEqual([503, 'decision_point_unavailable']);
  point.answer = (response) => response.writeHead(301, { location: 'http://localhost/' }).end();
  const elsewhere = await host.pay('1.00');
  expect([elsewhere.status, codeOfAnswer(elsewhere)]).toEqual([502, 'decision_point_invalid']);
  point.answer = (response) => response.socket?.destroy();
  expect(codeOfAnswer(await host.read())).toBe('decision_point_unavailable');
  expect(await host.budget()).toEqual(before);
  point.answer = PERMIT;
  expect(codeOfAnswer(await host.pay('1.00'))).toBe('signed');
});

it('is measured, and neither token nor body is in the log', async () => {
  const { text } = await host.daemon.admin('GET', '/metrics');
  for (const outcome of ['permit', 'deny', 'failed']) {
    expect(text).toMatch(
      new RegExp(`agentkeyd_decision_point_duration_seconds_count\\{outcome="${outcome}"\\} [1-9]`),
    );
  }
  expect(host.daemon.log()).toContain('an external decision point is asked as well');
  expect(host.daemon.log()).toContain('the external decision point answers again');
  expect(host.daemon.log()).not.toContain(TOKEN);
  expect(host.daemon.log()).not.toContain(PAYEE);
});

it('denies everything while it is not there', async () => {
  await point.stop();
  expect(codeOfAnswer(await host.read())).toBe('decision_point_unavailable');
  expect(codeOfAnswer(await host.pay('1.00'))).toBe('decision_point_unavailable');
});
