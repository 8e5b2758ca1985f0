/** S8: over the real daemon, what a resource's signed answer gives back of a budget, and what gives back nothing. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type SettlementOutcome } from '../../src/client/index.ts';
import { settlementHeaders } from '../../src/verify/settlement.ts';
import { answerFaults } from '../support/openapi.ts';
import { startGrantedHost, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';
import { makeTempDir } from '../support/temp-dir.ts';

const permit = (id: string, path: string, annotations: string): string => `
@id("${id}")
@meter("USD.2 body:/amount")
${annotations}
permit (principal, action == Action::"http-message", resource)
when {
  principal.uid == resource.ownerUid && context.path == "${path}" && ["/amount"].containsAll(context.body.members)
};
`;
const POLICIES =
  permit('pay', '/pay', '@limit("900.00 USD.2 per day")') +
  permit('reported', '/reported', '@settle("agent")') +
  permit('both-a', '/both', '@settle("agent")') +
  permit('both-b', '/both', '');

let host: GrantedHost;
let temp: Awaited<ReturnType<typeof makeTempDir>>;
let bank: Server;
let bankOrigin: string;
const resource = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const stranger = generateKeyPairSync('ed25519');
const BODY = Buffer.from('{"charged":true}');

interface Signed {
  readonly headers: Readonly<Record<string, string>>;
  readonly reservation: string;
}

async function sign(path: string, amount: string, origin = bankOrigin, agent = 'payer'): Promise<Signed> {
  const answer = await host.daemon.request('POST', `/v1/agents/${agent}/sign/http-message`, {
    ...{ profile: 'rfc9421', method: 'POST', targetUri: `${origin}${path}` },
    headers: [['content-type', 'application/json']],
    body: Buffer.from(`{"amount":${amount}}`).toString('base64url'),
  });
  expect(answer.status, answer.text).toBe(200);
  return answer.json as Signed;
}

/** The answer of a server that charged this much, as the agent passes it on. */
function answerTo(request: Signed, amount: bigint, by: KeyObject = resource.privateKey, unit = 'USD') {
  const requestSignature = request.headers['signature'] ?? '';
  const cost = { unit, decimals: 2, amount };
  const headers = settlementHeaders({ key: by, requestSignature, status: 200, body: BODY, cost });
  return { status: 200, headers: Object.entries(headers), body: BODY.toString('base64url') };
}

const settle = (body: object, agent = 'payer'): Promise<SocketAnswer> =>
  host.daemon.request('POST', `/v1/agents/${agent}/budget/settle`, body);
const code = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'settled' : ((json as { code?: string }).code ?? String(status));

async function spent(): Promise<bigint> {
  const { json } = await host.daemon.request('GET', '/v1/agents/payer/budget');
  const [budget] = (json as { budgets: readonly { spent: string; reserved: string }[] }).budgets;
  expect(budget?.reserved).toBe('0');
  return BigInt(budget?.spent ?? '-1');
}

/** How much `work` spends in the end. */
async function costOf(work: () => Promise<void>): Promise<bigint> {
  const before = await spent();
  await work();
  return (await spent()) - before;
}

beforeAll(async () => {
  temp = await makeTempDir();
  const keyFile = join(temp.path, 'resource.json');
  await writeFile(keyFile, JSON.stringify({ ...resource.publicKey.export({ format: 'jwk' }), alg: 'ES256' }));
  bank = createServer((request, response) => {
    request.resume().on('end', () => {
      const headers =
        request.url === '/pay'
          ? settlementHeaders({
              ...{ key: resource.privateKey, status: 200, body: BODY },
              requestSignature: String(request.headers['signature']),
              cost: { unit: 'USD', decimals: 2, amount: 7n },
            })
          : {};
      response.writeHead(200, { 'content-length': BODY.length, ...headers }).end(BODY);
    });
  });
  await new Promise<void>((resolve) => bank.listen(0, '127.0.0.1', resolve));
  bankOrigin = `http://127.0.0.1:${(bank.address() as AddressInfo).port}`;
  host = await startGrantedHost({
    grant: {
      ...{ scopes: ['*'], audiences: ['*'], max_depth: 4, lifetime_seconds: 3600 },
      constraints: [{ key: 'spend.USD.2', max_subtree: 90_000_000 }],
    },
    policies: { 'pay.cedar': POLICIES },
    config: { resource: [{ origin: bankOrigin, key_file: keyFile }] },
  });
  await host.agent('payer');
  await host.agent('other');
}, 120_000);
afterAll(async () => {
  bank.closeAllConnections();
  bank.close();
  await host.remove();
  await temp.remove();
});

describe('S8: a settlement', () => {
  it('by the resource gives back the rest, once', async () => {
    const cost = await costOf(async () => {
      const request = await sign('/pay', '30.00');
      const body = { reservation: request.reservation, response: answerTo(request, 12_34n) };
      const settled = await settle(body);
      expect(code(settled)).toBe('settled');
      expect(answerFaults('settleBudget', settled)).toEqual([]);
      expect(code(await settle(body))).toBe('not_found');
    });
    expect(cost).toBe(1234n);
  });

  it.each<[string, string, (request: Signed) => Promise<object> | object]>([
    ['a higher cost', 'budget_exceeded', (request) => ({ response: answerTo(request, 30_01n) })],
    ['another unit', 'conflict', (request) => ({ response: answerTo(request, 1n, undefined, 'EUR') })],
    [
      'a key that is not pinned',
      'signature_invalid',
      (request) => ({ response: answerTo(request, 1n, stranger.privateKey) }),
    ],
    [
      'the answer to another request',
      'signature_invalid',
      async () => ({ response: answerTo(await sign('/pay', '0.01'), 1n) }),
    ],
    [
      'an answer that was changed',
      'signature_invalid',
      (request) => ({ response: { ...answerTo(request, 1n), status: 201 } }),
    ],
    ['no answer', 'malformed_request', () => ({})],
    ['the agent’s word', 'policy_denied', () => ({ cost: [{ unit: 'USD', decimals: 2, amount: '1' }] })],
  ])('by %s is refused, and all stays spent', async (_, refusal, by) => {
    const cost = await costOf(async () => {
      const request = await sign('/pay', '30.00');
      const body = { reservation: request.reservation, ...(await by(request)) };
      expect(code(await settle(body))).toBe(refusal);
    });
    expect([3000n, 3001n]).toContain(cost);
  });

  it('of another agent’s reservation, or of one nobody made, is refused', async () => {
    const request = await sign('/pay', '0.10', bankOrigin, 'other');
    const response = answerTo(request, 1n);
    expect(code(await settle({ reservation: request.reservation, response }))).toBe('not_found');
    const reservation = '00000000-0000-4000-8000-000000000000';
    expect(code(await settle({ reservation, response }))).toBe('not_found');
  });

  it('at an origin without a pinned key is refused, whoever signed', async () => {
    const request = await sign('/pay', '0.10', 'https://elsewhere.example');
    const { reservation } = request;
    expect(code(await settle({ reservation, response: answerTo(request, 1n) }))).toBe('policy_denied');
  });

  it('by the agent’s word counts where every metering policy says so, and only lowers', async () => {
    const word = (amount: string) => ({ cost: [{ unit: 'USD', decimals: 2, amount }] });
    const { reservation } = await sign('/reported', '30.00');
    expect(code(await settle({ reservation, ...word('3001') }))).toBe('budget_exceeded');
    expect(code(await settle({ reservation, cost: [...word('1').cost, ...word('1').cost] }))).toBe(
      'malformed_request',
    );
    expect(code(await settle({ reservation, ...word('-1') }))).toBe('malformed_request');
    const cost = await costOf(async () => {
      expect(code(await settle({ reservation, ...word('5') }))).toBe('settled');
    });
    expect(cost).toBe(-2995n);
    const both = await sign('/both', '30.00');
    expect(code(await settle({ reservation: both.reservation, ...word('5') }))).toBe('policy_denied');
  });

  it('does not begin a limit anew: what it gives back is budget', async () => {
    const { entries } = (await host.daemon.request('GET', '/v1/agents/payer/budget/history?limit=500'))
      .json as {
      entries: readonly { event: string; amounts: readonly object[]; limits: readonly object[] }[];
    };
    const settled = entries.filter(({ event }) => event === 'settled');
    expect(settled.length).toBeGreaterThan(0);
    expect(settled.flatMap(({ limits }) => limits)).toEqual([]);
  });

  it('is made by agent.fetch where it is asked to, and the answer is still the caller’s to read', async () => {
    const agent = await connect({ socketPath: host.daemon.socketPath }).agent('payer');
    const outcomes: SettlementOutcome[] = [];
    const fetch = agent.fetch({ onSettlement: (outcome) => outcomes.push(outcome) });
    const pay = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"amount":30.00}' };
    const cost = await costOf(async () => {
      const response = await fetch(`${bankOrigin}/pay`, pay);
      expect(await response.text()).toBe(BODY.toString());
    });
    expect(outcomes).toMatchObject([{ budgets: [{ unit: 'USD' }] }]);
    expect(cost).toBe(7n);
    // A server that says nothing settles nothing.
    const unsettled = await costOf(async () => {
      await fetch(`${bankOrigin}/reported`, pay);
    });
    expect(unsettled).toBe(3000n);
    expect(outcomes.length).toBe(1);
  });

  it('is on record with what was claimed, refused ones too', async () => {
    const { json } = await host.daemon.admin('GET', '/v1/audit/entries?limit=1000');
    const entries = (json as { entries: readonly string[] }).entries.map(
      (text) => JSON.parse(text) as { action?: string; parameters?: Record<string, unknown> },
    );
    const settlements = entries.filter(({ action }) => action === 'budget-settle');
    expect(settlements[0]?.parameters).toMatchObject({
      by: 'resource',
      claim: 'cost=1234, unit="USD", decimals=2',
    });
    expect(settlements.filter(({ parameters }) => parameters?.['by'] === 'agent').length).toBeGreaterThan(1);
  });
});
