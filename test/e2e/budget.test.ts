/** S6: a budget is one, however many callers, agents, keys and restarts spend from it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGrantedHost, until, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';

const PAY = `
@id("pay")
@meter("USD.2 body:/amount")
permit (principal, action == Action::"http-message", resource in Agent::"spender")
when {
  principal.uid == resource.ownerUid && context.path == "/pay" && ["/amount"].containsAll(context.body.members)
};
@id("pay-other")
@meter("USD.2 body:/amount")
permit (principal, action == Action::"http-message", resource in Agent::"other")
when {
  principal.uid == resource.ownerUid && context.path == "/pay" && ["/amount"].containsAll(context.body.members)
};
`;
const grant = (cents: number) => ({
  scopes: ['*'],
  audiences: ['*'],
  constraints: [{ key: 'spend.USD.2', max_subtree: cents }],
  max_depth: 4,
  lifetime_seconds: 3600,
});

let host: GrantedHost;

const pay = (agent: string, amount = '0.01'): Promise<SocketAnswer> =>
  host.daemon.request('POST', `/v1/agents/${agent}/sign/http-message`, {
    profile: 'rfc9421',
    method: 'POST',
    targetUri: 'https://bank.example/pay',
    headers: [['content-type', 'application/json']],
    body: Buffer.from(`{"amount":${amount}}`).toString('base64url'),
  });

const code = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'done' : ((json as { code?: string }).code ?? String(status));

const budget = async (agent: string) => {
  const { json } = await host.daemon.request('GET', `/v1/agents/${agent}/budget`);
  const [first] = (json as { budgets: readonly { amount: string; spent: string; allocated: string }[] })
    .budgets;
  if (first === undefined) throw new Error('no budget');
  return { amount: Number(first.amount), spent: Number(first.spent), allocated: Number(first.allocated) };
};

/** `callers` pay until they may not; how many payments were signed. */
const spend = async (agents: readonly string[], callers: number): Promise<number> => {
  let signed = 0;
  const one = async (agent: string): Promise<void> => {
    for (;;) {
      const answer = await pay(agent);
      if (code(answer) === 'budget_exceeded') return;
      if (code(answer) !== 'done') throw new Error(answer.text);
      signed += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, index) => one(agents[index % agents.length] ?? '')));
  return signed;
};

beforeAll(async () => {
  host = await startGrantedHost({ grant: grant(400), policies: { 'pay.cedar': PAY } });
  await host.agent('spender');
  await host.agent('other');
}, 120_000);
afterAll(() => host.remove());

describe('S6: a budget of 400 cents', () => {
  it('is what 64 callers of two agents spend, and not one cent more', async () => {
    expect(await spend(['spender', 'other'], 64)).toBe(400);
    expect(await budget('spender')).toEqual({ amount: 400, spent: 400, allocated: 0 });
    expect(await budget('other')).toEqual(await budget('spender'));
  });

  it('is spent for a new key, for an agent that is made anew, and after a restart', async () => {
    const rotated = await host.daemon.request('POST', '/v1/agents/spender/rotate', { reason: 'routine' });
    expect(rotated.status).toBe(200);
    await until(
      () => pay('spender'),
      (answer) => code(answer) === 'budget_exceeded',
    );
    await host.daemon.request('DELETE', '/v1/agents/other');
    await host.daemon.kill9();
    await host.daemon.start();
    await until(
      () => pay('spender'),
      (answer) => code(answer) === 'budget_exceeded',
    );
  });

  it('grows when the issuer says so, by what it says', async () => {
    await host.approve(grant(450));
    const renewed = await host.daemon.request('POST', '/v1/agents/spender/credentials', {});
    expect(renewed.status).toBe(200);
    expect(await spend(['spender'], 8)).toBe(50);
  });

  it('is lent to sub-agents out of what is left, and what they leave comes back', async () => {
    await host.approve(grant(550));
    // What the host was told within the last minute it would be told again.
    await host.daemon.kill9();
    await host.daemon.start();
    await until(
      () => host.daemon.request('POST', '/v1/agents/spender/credentials', {}),
      ({ status }) => status === 200,
    );
    const child = (name: string, amount: number): Promise<SocketAnswer> =>
      host.daemon.request('POST', '/v1/agents/spender/delegations', {
        name,
        scopes: ['*'],
        aud: ['*'],
        constraints: [],
        expiresIn: 600,
        budget: [{ unit: 'USD', decimals: 2, amount }],
      });
    expect(code(await child('greedy', 101))).toBe('budget_exceeded');
    expect(code(await child('first', 60))).toBe('done');
    expect(code(await child('second', 41))).toBe('budget_exceeded');
    expect(await budget('spender')).toMatchObject({ allocated: 60 });
    expect(await spend(['spender+first', 'spender'], 16)).toBe(100);
    const more = await host.daemon.request('POST', '/v1/agents/spender+first/budget', {
      unit: 'USD',
      decimals: 2,
      amount: '1',
    });
    expect(code(more)).toBe('budget_exceeded');
  });
});
