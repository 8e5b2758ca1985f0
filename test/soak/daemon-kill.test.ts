/**
 * S6, S8: a whole daemon over a TPM, killed with kill -9 in the middle of metered signing, again and again, and a
 * hundred agents under one grant: not one cent more than the budget is ever signed, and a kill costs at most the
 * open lease. A few rounds; AGENTKEYD_SOAK=1 makes it many.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGrantedHost, until, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';
import { SeededRandom } from '../support/seeded-random.ts';

const IS_SOAK = process.env['AGENTKEYD_SOAK'] === '1';
const KILLS = IS_SOAK ? 60 : 4;
const AGENTS = IS_SOAK ? 100 : 12;
const TIMEOUT_MS = IS_SOAK ? 60 * 60_000 : 300_000;
const CALLERS = 16;
const BUDGET = IS_SOAK ? 20_000 : 4000;
const LEASE = 40;

const PAY = `
@id("pay")
@meter("USD.2 body:/amount")
permit (principal, action == Action::"http-message", resource)
when {
  principal.uid == resource.ownerUid && context.path == "/pay" && ["/amount"].containsAll(context.body.members)
};
`;

let host: GrantedHost;
/** Cents of signatures that came back, and of calls whose answer a kill swallowed: those may have been signed. */
let signed = 0;
let unknown = 0;

beforeAll(async () => {
  host = await startGrantedHost({
    grant: {
      ...{ scopes: ['*'], audiences: ['*'], max_depth: 4, lifetime_seconds: 86_400 },
      constraints: [{ key: 'spend.USD.2', max_subtree: BUDGET }],
    },
    policies: { 'pay.cedar': PAY },
    config: { ledger: { lease: { 'USD.2': LEASE } }, limits: { connections_per_caller: 1024 } },
  });
  await host.agent('spender-0');
}, 120_000);
afterAll(() => host.remove());

const pay = (agent: string, cents: number): Promise<SocketAnswer> =>
  host.daemon.request('POST', `/v1/agents/${agent}/sign/http-message`, {
    ...{ profile: 'rfc9421', method: 'POST', targetUri: 'https://bank.example/pay' },
    headers: [['content-type', 'application/json']],
    body: Buffer.from(`{"amount":${(cents / 100).toFixed(2)}}`).toString('base64url'),
  });

const codeOfAnswer = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'done' : ((json as { code?: string } | undefined)?.code ?? String(status));

interface Standing {
  readonly amount: number;
  readonly spent: number;
}

async function standing(): Promise<Standing> {
  const { json } = await until(
    () => host.daemon.request('GET', '/v1/agents/spender-0/budget'),
    ({ status }) => status === 200,
  );
  const [budget] = (json as { budgets: readonly { amount: string; spent: string; reserved: string }[] })
    .budgets;
  return {
    amount: Number(budget?.amount),
    spent: Number(budget?.spent) + Number(budget?.reserved),
  };
}

/** Pays with all callers until told to end, or until nothing is left; what is refused costs nothing. */
async function payAll(agents: readonly string[], random: SeededRandom, isOver: () => boolean): Promise<void> {
  const one = async (index: number): Promise<void> => {
    for (let n = index; !isOver(); n += 1) {
      const cents = random.integer(1, 5);
      let code: string;
      try {
        code = codeOfAnswer(await pay(agents[n % agents.length] ?? '', cents));
      } catch {
        unknown += cents; // the connection broke: the daemon died before it answered
        return;
      }
      if (code === 'done') signed += cents;
      else if (code === 'budget_exceeded' && cents === 1) return;
      else if (!['budget_exceeded', 'too_many_requests', 'deadline_exceeded'].includes(code)) return;
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, (_, index) => one(index)));
}

describe('S8: kill -9 of a daemon that signs', () => {
  it(
    'never over-spends, and costs at most the open lease each time',
    async () => {
      const random = new SeededRandom(7);
      for (let kill = 1; kill <= KILLS; kill += 1) {
        const before = await standing();
        const [signedBefore, unknownBefore] = [signed, unknown];
        let isOver = false;
        const paying = payAll(['spender-0'], random, () => isOver);
        await delay(random.integer(20, 400));
        await host.daemon.kill9();
        isOver = true;
        await paying;
        await host.daemon.start();
        const after = await standing();
        const gone = after.spent - before.spent;
        const certain = signed - signedBefore;
        expect(gone, `kill ${kill}: less is on record than was signed`).toBeGreaterThanOrEqual(certain);
        expect(gone, `kill ${kill}: it cost more than a lease`).toBeLessThanOrEqual(
          certain + (unknown - unknownBefore) + LEASE,
        );
        expect(signed).toBeLessThanOrEqual(BUDGET);
      }
      expect(signed).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  it(
    'S6: nor do many agents under one grant, a new key, and one made anew get a cent more out of what is left',
    async () => {
      const agents = Array.from({ length: AGENTS }, (_, index) => `spender-${index}`);
      for (const name of agents.slice(1)) await host.agent(name);
      const before = await standing();
      const signedBefore = signed;
      const random = new SeededRandom(11);
      await payAll(agents, random, () => false);
      expect(signed - signedBefore).toBe(before.amount - before.spent);
      expect(await standing()).toEqual({ amount: BUDGET, spent: BUDGET });

      await host.daemon.request('POST', '/v1/agents/spender-1/rotate', { reason: 'routine' });
      await host.daemon.request('DELETE', '/v1/agents/spender-2');
      await host.agent('spender-anew');
      for (const name of ['spender-1', 'spender-anew', 'spender-3']) {
        const refused = await until(
          () => pay(name, 1),
          (answer) => codeOfAnswer(answer) !== 'credential_unavailable',
        );
        expect(codeOfAnswer(refused), name).toBe('budget_exceeded');
      }
      expect(signed).toBeLessThanOrEqual(BUDGET);
    },
    TIMEOUT_MS,
  );
});
