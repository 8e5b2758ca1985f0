/** `agentkey budget`: exact amounts, pages put together, and what a terminal is shown. */
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decimal } from '../../../src/cli/budget-lines.ts';
import { main } from '../../../src/cli/main.ts';
import { makeTempDir } from '../../support/temp-dir.ts';

interface Asked {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly body: string;
}

let temp: Awaited<ReturnType<typeof makeTempDir>>;
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(() => temp.remove());

/** Runs a command against a server that answers as told. */
async function agentkey(answer: (url: string) => unknown, ...args: string[]) {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      asked.push({ method: request.method, url: request.url, body });
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer(request.url ?? '')));
    });
  });
  const socket = join(temp.path, 's');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  let [out, err] = ['', ''];
  const streams = { out: (text: string) => (out += text), err: (text: string) => (err += text) };
  const code = await main(['--socket', socket, '--admin-socket', socket, ...args], streams);
  await new Promise((resolve) => server.close(resolve));
  return { asked, code, out, err };
}

const usd = (amount: string) => ({ unit: 'USD', decimals: 2, amount });

describe('agentkey budget', () => {
  it('shows amounts in whole units, what is left, and what a crash costs', async () => {
    const budgets = [{ ...usd('300000'), spent: '4', reserved: '6', allocated: '50', lease: '9375' }];
    const { out } = await agentkey(() => ({ budgets }), 'budget', 'show', 'planner');
    expect(out.split('\n')[1]?.split(/ +/)).toEqual([
      'USD.2',
      '3000.00',
      '0.04',
      '0.06',
      '0.50',
      '2999.40',
      '93.75',
    ]);
  });

  it.each([
    ['USD.2', '25.00', { unit: 'USD', decimals: 2, amount: '2500' }],
    ['USD.2', '25', { unit: 'USD', decimals: 2, amount: '2500' }],
    ['uses.0', '3', { unit: 'uses', decimals: 0, amount: '3' }],
    ['USD.6', '9007199254.740993', { unit: 'USD', decimals: 6, amount: '9007199254740993' }],
  ])('tops up %s by %s exactly', async (unit, amount, body) => {
    const { asked, code } = await agentkey(() => ({ budgets: [] }), 'budget', 'top-up', 'a+b', unit, amount);
    expect(code).toBe(0);
    expect(asked).toMatchObject([{ method: 'POST', url: '/v1/agents/a%2Bb/budget' }]);
    expect(JSON.parse(asked[0]?.body ?? '')).toEqual(body);
  });

  it.each([
    ['USD', '25.00'],
    ['USD.2', '25.001'],
    ['USD.2', '0'],
    ['USD.2', '-1'],
    ['USD.2', '1e'],
    ['USD.16', '1'],
  ])('asks nothing of %s by %s', async (unit, amount) => {
    const { asked, code } = await agentkey(() => ({}), 'budget', 'top-up', 'a', unit, '--', amount);
    expect({ asked, code }).toEqual({ asked: [], code: 2 });
  });

  it('puts pages of history together, the oldest first, and lets no call steer the terminal', async () => {
    const entry = (index: number) => ({
      index,
      at: '2026-01-01T00:00:00.000Z',
      event: 'reserved',
      amounts: [usd(String(index))],
      limits: [],
      call: 'http-message POST https://a.example/\u001b[2J',
    });
    const pages: Readonly<Record<string, unknown>> = {
      'limit=3': { entries: [entry(9), entry(8)], next: 8 },
      'limit=1&before=8': { entries: [], next: 4 },
      'limit=1&before=4': { entries: [entry(3)], next: 3 },
    };
    const { asked, out } = await agentkey(
      (url) => pages[url.split('?')[1] ?? ''],
      ...['budget', 'history', 'a', '-n', '3', '--admin'],
    );
    expect(asked.length).toBe(3);
    expect(out.match(/0\.0\d USD/g)).toEqual(['0.03 USD', '0.08 USD', '0.09 USD']);
    expect(out).not.toContain('\u001b');
  });

  it('accepts a rollback over the admin socket', async () => {
    const { asked, out } = await agentkey(() => ({ epoch: '12' }), 'ledger', 'accept-rollback');
    expect(asked).toMatchObject([{ method: 'POST', url: '/v1/ledger/accept-rollback' }]);
    expect(out).toBe('epoch  12\n');
  });

  it.each([
    ['5', 2, '0.05'],
    ['0', 2, '0.00'],
    ['123', 0, '123'],
    ['-5', 2, '-0.05'],
    ['100', 2, '1.00'],
  ])('writes %s with %d decimals as %s', (amount, decimals, text) => {
    expect(decimal(amount, decimals)).toBe(text);
  });
});
