/** Step: a signed request is accepted once, and refused after any change. */
import type { AgentHandle } from 'agentkeyd/client';
import type { DemoIssuer } from './host.ts';
import type { DemoAgents } from './keys.ts';
import { check, fact, refused, short, step } from './narrator.ts';
import { startResourceServer } from './resource-server.ts';

export type Sent = { url: string; headers: Record<string, string>; body: string };

const PAYMENT = '{"to":"ACME","amount":"30.00"}';

export async function showRequests(agents: DemoAgents, issuer: DemoIssuer): Promise<void> {
  step('A request is signed in hardware and accepted by a resource server that pins the issuer');
  const server = await startResourceServer(issuer);
  const url = `${server.origin}/payments`;
  try {
    for (const agent of [agents.tpm, agents.hsm]) {
      await check(`${agent.name}: POST /payments is accepted`, 'agentkeyd/verify in express', async () => {
        const response = await agent.fetch()(url, { method: 'POST', headers: json, body: PAYMENT });
        const answer = await response.text();
        if (response.status !== 201) throw new Error(`${response.status} ${answer}`);
        fact('server answers', short(answer, 110));
      });
    }
    await check('planner: the same in the AAuth profile', 'agentkeyd/verify in express', async () => {
      const response = await agents.tpm.fetch({ profile: 'aauth' })(url, {
        method: 'POST',
        headers: json,
        body: PAYMENT,
      });
      if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
    });

    step('The same request is refused after one octet of it was changed');
    const capture = (): Promise<Sent> => captured(agents.tpm, url, PAYMENT);
    const wit = (await agents.hsm.credentials()).wit ?? '';
    await refused('one octet of the body', /digest/i, async () =>
      send({ ...(await capture()), body: PAYMENT.replace('30', '39') }),
    );
    await refused('one octet of the path', /does not verify/, async () =>
      send({ ...(await capture()), url: `${url}x` }),
    );
    await refused('the key (another agent’s WIT)', /keyid|not verify|signature/i, async () => {
      const sent = await capture();
      return send({ ...sent, headers: { ...sent.headers, 'workload-identity-token': wit } });
    });
    await refused('nothing at all, but sent a second time', /once|used before|replay/i, async () => {
      const sent = await capture();
      const first = await send(sent);
      return first === undefined ? send(sent) : `the first was refused: ${first}`;
    });
  } finally {
    server.close();
  }
}

export const json = { 'content-type': 'application/json' };

/** A signed request that is not sent yet. */
export async function captured(agent: AgentHandle, url: string, body: string): Promise<Sent> {
  let sent: Sent | undefined;
  const spy: typeof fetch = async (_to, init) => {
    sent = { url, headers: Object.fromEntries(new Headers(init?.headers)), body };
    return Promise.resolve(new Response());
  };
  await agent.fetch({ fetch: spy })(url, { method: 'POST', headers: json, body });
  if (sent === undefined) throw new Error('nothing was sent');
  return sent;
}

/** The reason of the refusal; undefined where the request was accepted. */
export async function send({ url, headers, body }: Sent): Promise<string | undefined> {
  const response = await fetch(url, { method: 'POST', headers, body });
  if (response.status === 201) return undefined;
  const text = await response.text();
  return (JSON.parse(text) as { readonly detail?: string }).detail ?? text;
}
