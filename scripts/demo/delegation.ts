/** Step: a sub-agent gets a part of what its parent may do, and a server sees by whose leave it acts. */
import { decodeJwt } from 'jose';
import type { AgentHandle, DelegateOptions } from 'agentkeyd/client';
import type { StatusLists, StatusReference } from 'agentkeyd/verify';
import { check, fact, refused, short, step } from './narrator.ts';
import type { PolicySet } from './policy-set.ts';
import { codeOf } from './refusals.ts';
import { captured, json, send } from './requests.ts';
import type { ResourceServer } from './resource-server.ts';

/** What a payment costs is what it says: without it no budget would be charged. */
const METERED = `
@id("payments-cost-what-they-move")
@meter("USD.2 body:/amount")
permit (principal, action == Action::"http-message", resource in Agent::"planner")
when {
  principal.uid == resource.ownerUid && context.path == "/payments" &&
  ["/amount", "/to"].containsAll(context.body.members)
};
`;
const DOLLARS = { unit: 'USD', decimals: 2 } as const;
const PUBLISHED_WITHIN_MS = 10_000;

export async function showDelegation(
  planner: AgentHandle,
  policies: PolicySet,
  shop: ResourceServer,
  freshStatus: () => StatusLists,
): Promise<void> {
  step('Delegation: a sub-agent with a key of its own and a part of its parent’s authority');
  await policies.add('metered', METERED);
  const terms: DelegateOptions = {
    name: 'clerk',
    scopes: ['payments.*'],
    aud: [shop.origin],
    constraints: [{ key: 'body:/amount', max: '30.00' }],
    budget: [{ ...DOLLARS, amount: 5000 }],
    expiresIn: 600,
  };
  const clerk = await planner.delegate(terms);
  fact(clerk.name, `kid ${short(clerk.kid)}, ${terms.scopes.join()} at ${shop.origin}`);
  fact('', '$30.00 at most each time, $50.00 in all');
  await clerk.renewCredentials();

  const url = `${shop.origin}/payments`;
  const helper = { ...terms, name: 'helper', expiresIn: 300 };
  await refused('a helper of the clerk that could be used anywhere', /audience/, () =>
    codeOf(() => clerk.delegate({ ...helper, aud: ['*'] })),
  );
  await refused('one that may pay more at a time', /body:\/amount max is wider/, () =>
    codeOf(() => clerk.delegate({ ...helper, constraints: [{ key: 'body:/amount', max: '30.01' }] })),
  );
  await check('the clerk pays $30.00; the chain is verified offline', 'agentkeyd/verify', async () => {
    const response = await clerk.fetch()(url, { method: 'POST', headers: json, body: payment('30.00') });
    const answer = await response.text();
    if (response.status !== 201) throw new Error(`${response.status} ${answer}`);
    const { onBehalfOf, links } = JSON.parse(answer) as Readonly<Record<string, unknown>>;
    fact('on behalf of', `${String(onBehalfOf)}, ${String(links)} link below its grant`);
  });
  const signed = (body: string): Promise<string | undefined> => codeOf(() => captured(clerk, url, body));
  await refused('$30.01, whatever the clerk’s own program says', /authority_exceeded/, () =>
    signed(payment('30.01')),
  );
  await refused('$20.01 more: the budget has $20.00 left', /budget_exceeded/, () => signed(payment('20.01')));

  const errand = await clerk.delegate({ ...helper, name: 'errand', budget: [{ ...DOLLARS, amount: 500 }] });
  await errand.renewCredentials();
  const kept = await captured(errand, url, payment('1.00'));
  const [, link = ''] = await clerk.chain();
  await clerk.revoke();
  await refused('an agent below the clerk, at once, when the clerk is revoked', /agent_not_found/, () =>
    codeOf(() => captured(errand, url, payment('1.00'))),
  );
  await refused('what it had signed before, once the issuer has published the end', /revoked/, async () => {
    await published(link, freshStatus);
    return send(kept);
  });
}

function payment(amount: string): string {
  return `{"amount":${amount},"to":"ACME"}`;
}

/** Until the issuer's status list says that the link has ended. */
async function published(link: string, freshStatus: () => StatusLists): Promise<void> {
  const reference = (decodeJwt(link)['status'] as { readonly status_list: StatusReference }).status_list;
  const deadline = Date.now() + PUBLISHED_WITHIN_MS;
  while (Date.now() < deadline && (await codeOf(() => freshStatus().check(reference))) === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
