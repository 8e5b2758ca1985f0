/** Step: "at most $3,000, to this payee, once, before a day", as the policy that is shipped says it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentKeyClient } from 'agentkeyd/client';
import { check, refused, step } from './narrator.ts';
import type { PolicySet } from './policy-set.ts';
import { codeOf } from './refusals.ts';
import { captured, send } from './requests.ts';
import type { ResourceServer } from './resource-server.ts';

const EXAMPLE = join(import.meta.dirname, '..', '..', 'policies', 'examples', 'payment-3000.cedar');
const PAYEE = 'DE89370400440532013000';
const DAY_MS = 86_400_000;

export async function showPaymentPolicy(
  client: AgentKeyClient,
  policies: PolicySet,
  bank: ResourceServer,
): Promise<void> {
  const day = new Date(Date.now() + 2 * DAY_MS).toISOString().slice(0, 10);
  step(`A policy: this agent may move at most $3,000, to this payee, once, before ${day}`);
  const agent = await client.createAgent({ name: 'payments', backend: 'tpm' });
  await agent.renewCredentials();
  const policy = (await readFile(EXAMPLE, 'utf8'))
    .replaceAll('https://bank.example', bank.origin)
    .replaceAll('/v1/payments', '/payments')
    .replaceAll('2026-11-27T', `${day}T`);
  await check('the example that is shipped is put in force', 'agentkeyd', () =>
    policies.add('payment-3000', policy),
  );
  const url = `${bank.origin}/payments`;
  const signed = (body: string): Promise<string | undefined> => codeOf(() => captured(agent, url, body));
  await refused('$3,000.01', /policy_denied/, () => signed(payment('3000.01')));
  await refused('another payee', /policy_denied/, () => signed(payment('10.00', 'DE02120300000000202051')));
  await refused('an amount that is there twice', /policy_denied/, () => signed(payment('1,"amount":9000')));
  await refused('a DPoP proof for the URL, which would bind no amount', /policy_denied|unbound/, () =>
    codeOf(() => agent.signDpop({ htm: 'POST', htu: url })),
  );
  await check('$3,000.00 to this payee is signed and accepted', 'agentkeyd/verify in express', async () => {
    const refusal = await send(await captured(agent, url, payment('3000.00')));
    if (refusal !== undefined) throw new Error(refusal);
  });
  await refused('a second payment, of one dollar', /limit_reached/, () => signed(payment('1.00')));
}

function payment(amount: string, payee = PAYEE): string {
  return `{"amount":${amount},"currency":"USD","payee":"${payee}"}`;
}
