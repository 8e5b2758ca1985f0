/** Steps: what an agent may do, what it may give away, and the proof of what it did. */
import { join } from 'node:path';
import { connect, type AgentKeyClient } from 'agentkeyd/client';
import { StatusLists, trustedKeys, type DelegationRules } from 'agentkeyd/verify';
import { showAudit } from './audit.ts';
import { showDelegation } from './delegation.ts';
import type { DemoIssuer } from './host.ts';
import { fetchPublished } from './issuer-client.ts';
import type { DemoAgents } from './keys.ts';
import { showPaymentPolicy } from './payment-policy.ts';
import { PolicySet } from './policy-set.ts';
import { startResourceServer } from './resource-server.ts';
import type { RunningSandbox } from './sandbox.ts';

export async function showAuthority(
  client: AgentKeyClient,
  agents: DemoAgents,
  issuer: DemoIssuer,
  { description, dir }: RunningSandbox,
): Promise<void> {
  // Each asks the issuer anew: most servers keep their copies for a minute.
  const freshStatus = (): StatusLists =>
    new StatusLists({
      authorities: [{ prefix: `${issuer.url}/v1/status/`, keys: trustedKeys(issuer.statusKeys) }],
      maxStatusAgeSeconds: 300,
      fetch: (uri, signal) => fetchPublished(uri, issuer.ca, signal),
    });
  const bank = await startResourceServer(issuer);
  const shop = await startResourceServer(issuer, chainRules(issuer, freshStatus));
  const operator = connect({ socketPath: description.adminSocket });
  const policies = new PolicySet(operator, join(dir, 'daemon', 'policy.d'));
  try {
    await showPaymentPolicy(client, policies, bank);
    await showDelegation(agents.tpm, policies, shop, freshStatus);
    await showAudit(operator);
  } finally {
    operator.close();
    shop.close();
    bank.close();
  }
}

/** What a server asks of a chain: whose grants count, which scope a payment needs, what it costs, what was revoked. */
function chainRules(issuer: DemoIssuer, freshStatus: () => StatusLists): DelegationRules {
  return {
    roots: [
      {
        issuer: issuer.issuer,
        trustDomain: issuer.trustDomain,
        keys: trustedKeys(issuer.grantKeys),
        // No person approved the sandbox's grant, and it says so.
        acceptDevelopment: true,
      },
    ],
    requiredScopes: ['payments.write'],
    costs: () => new Map(),
    get status() {
      return freshStatus();
    },
  };
}
