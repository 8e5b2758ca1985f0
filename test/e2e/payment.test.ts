/**
 * "This agent may move at most $3,000, to this payee, once, before Friday", as it is shipped, against a daemon
 * with a real TPM and a real issuer; and every way past it that was thought of.
 */
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGrantedHost, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';

const EXAMPLE = readFileSync(
  join(import.meta.dirname, '..', '..', 'policies', 'examples', 'payment-3000.cedar'),
  'utf8',
);
const DAY_MS = 86_400_000;
const day = (daysFromNow: number): string =>
  `${new Date(Date.now() + daysFromNow * DAY_MS).toISOString().slice(0, 10)}T00:00:00Z`;
/** The example for an agent of this name, with its day. */
const example = (agent: string, until: string): string =>
  EXAMPLE.replaceAll('2026-11-27T00:00:00Z', until)
    .replaceAll('Agent::"payments"', `Agent::"${agent}"`)
    .replaceAll('"payment-3000', `"payment-3000-${agent}`);

const PAYEE = 'DE89370400440532013000';
const payment = (amount: string, payee = PAYEE): string =>
  `{"amount":${amount},"currency":"USD","payee":"${payee}"}`;

let host: GrantedHost;

interface Parts {
  readonly agent?: string;
  readonly url?: string;
  readonly body?: string | Buffer;
  readonly headers?: readonly (readonly [string, string])[];
}

const pay = ({ agent = 'payments', url, body, headers }: Parts = {}): Promise<SocketAnswer> =>
  host.daemon.request('POST', `/v1/agents/${agent}/sign/http-message`, {
    profile: 'rfc9421',
    method: 'POST',
    targetUri: url ?? 'https://bank.example/v1/payments',
    headers: headers ?? [['content-type', 'application/json']],
    body: Buffer.from(body ?? payment('3000.00')).toString('base64url'),
  });

const code = ({ status, json }: SocketAnswer): string =>
  status === 200 ? 'signed' : ((json as { code?: string }).code ?? String(status));

const budget = async (agent: string): Promise<unknown> =>
  (await host.daemon.request('GET', `/v1/agents/${agent}/budget`)).json;

beforeAll(async () => {
  const agents = ['payments', 'crowd', 'crash'];
  host = await startGrantedHost({
    policies: Object.fromEntries([
      ...agents.map((agent) => [`${agent}.cedar`, example(agent, day(2))] as const),
      ['saturday.cedar', example('saturday', day(-1))],
    ]),
  });
  for (const agent of [...agents, 'saturday']) await host.agent(agent);
}, 120_000);
afterAll(() => host.remove());

describe('S3: everything but this payment is refused', () => {
  it.each<[string, string, Parts]>([
    ['one cent more', 'policy_denied', { body: payment('3000.01') }],
    ['a tenth of a millionth more', 'amount_not_exact', { body: payment('3000.0000001') }],
    ['an amount that no double holds', 'amount_not_exact', { body: payment('1e400') }],
    ['another payee', 'policy_denied', { body: payment('10.00', 'DE02120300000000202051') }],
    ['a look-alike of the payee', 'policy_denied', { body: payment('10.00', PAYEE.replace('D', 'Ꭰ')) }],
    [
      'an amount given twice',
      'policy_denied',
      { body: `{"amount":1,"amount":9000,"currency":"USD","payee":"${PAYEE}"}` },
    ],
    [
      'a nested amount',
      'amount_not_exact',
      { body: `{"amount":{"value":1},"currency":"USD","payee":"${PAYEE}"}` },
    ],
    ['an amount as text', 'amount_not_exact', { body: payment('"3000.00"') }],
    ['a negative amount', 'policy_denied', { body: payment('-1') }],
    [
      'one member more',
      'policy_denied',
      { body: `{"amount":1,"currency":"USD","payee":"${PAYEE}","fee":9}` },
    ],
    ['a path with ..', 'invalid_target_uri', { url: 'https://bank.example/v1/../v1/payments' }],
    ['a path encoded twice', 'policy_denied', { url: 'https://bank.example/v1/%2570ayments' }],
    ['a query', 'policy_denied', { url: 'https://bank.example/v1/payments?amount=9000' }],
    ['another port', 'policy_denied', { url: 'https://bank.example:8443/v1/payments' }],
    ['http', 'policy_denied', { url: 'http://bank.example/v1/payments' }],
    [
      'a form',
      'policy_denied',
      {
        body: `amount=9000&currency=USD&payee=${PAYEE}`,
        headers: [['content-type', 'application/x-www-form-urlencoded']],
      },
    ],
    [
      'a gzip body',
      'policy_denied',
      {
        body: gzipSync(payment('9000')),
        headers: [
          ['content-type', 'application/json'],
          ['content-encoding', 'gzip'],
        ],
      },
    ],
  ])('%s', async (_, expected, parts) => {
    const answer = await pay(parts);
    expect(code(answer)).toBe(expected);
  });

  it.each([
    ['dpop', { htm: 'POST', htu: 'https://bank.example/v1/payments' }],
    ['jwt', { typ: 'payment+jwt', claims: { aud: 'https://bank.example', amount: 3000 } }],
    ['csr', {}],
    ['raw', { message: Buffer.from(payment('3000.00')).toString('base64url') }],
  ])('the same payment through %s', async (kind, body) => {
    const answer = await host.daemon.request('POST', `/v1/agents/payments/sign/${kind}`, body);
    expect(answer.status).toBe(403);
  });

  it('a sub-agent that would pay instead', async () => {
    const answer = await host.daemon.request('POST', '/v1/agents/payments/delegations', {
      name: 'shadow',
      scopes: ['*'],
      aud: ['*'],
      constraints: [],
      expiresIn: 600,
    });
    expect(code(answer)).toBe('policy_denied');
  });

  it('Saturday', async () => {
    expect(code(await pay({ agent: 'saturday' }))).toBe('policy_denied');
  });

  it('and nothing of all this has cost anything', async () => {
    expect(await budget('payments')).toMatchObject({
      budgets: [{ unit: 'USD', decimals: 2, spent: '0', reserved: '0' }],
    });
  });
});

describe('S6: once', () => {
  it('3,000.00 is signed and charged, and no second payment is', async () => {
    const first = await pay();
    expect(first.text).toContain('signature');
    expect(first.json).toHaveProperty('reservation');
    expect(await budget('payments')).toMatchObject({ budgets: [{ spent: '300000' }] });
    for (const amount of ['3000.00', '0.01']) {
      expect(code(await pay({ body: payment(amount) }))).toBe('limit_reached');
    }
  });

  it('of 64 at once, one', async () => {
    const answers = await Promise.all(
      Array.from({ length: 64 }, () => pay({ agent: 'crowd', body: payment('1.00') })),
    );
    expect(answers.map(code).filter((each) => each === 'signed')).toHaveLength(1);
    for (const each of answers.map(code))
      expect(['signed', 'limit_reached', 'too_many_requests']).toContain(each);
  });

  it('also over kill -9 and restart', async () => {
    expect(code(await pay({ agent: 'crash', body: payment('1.00') }))).toBe('signed');
    await host.daemon.kill9();
    await host.daemon.start();
    expect(code(await pay({ agent: 'crash', body: payment('1.00') }))).toBe('limit_reached');
    expect(code(await pay())).toBe('limit_reached');
  });
});
