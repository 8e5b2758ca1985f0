/** Step: an agent key in the TPM and one in the token. */
import type { AgentHandle, AgentKeyClient } from 'agentkeyd/client';
import { check, fact, short, step } from './narrator.ts';

export interface DemoAgents {
  readonly tpm: AgentHandle;
  readonly hsm: AgentHandle;
}

export async function showKeys(client: AgentKeyClient): Promise<DemoAgents> {
  step('Two agents get keys: one in the TPM, one in the HSM token');
  const tpm = await client.createAgent({ name: 'planner', backend: 'tpm' });
  const hsm = await client.createAgent({ name: 'payer', backend: 'pkcs11' });
  for (const agent of [tpm, hsm]) {
    fact(agent.name, `${agent.view.algorithm} in ${agent.view.backend}, kid ${short(agent.kid)}`);
    fact('', agent.view.identifiers.spiffeId ?? '(no SPIFFE ID)');
    fact('', agent.view.identifiers.aauthId ?? '(no AAuth id)');
  }
  await check('the daemon names each key by its RFC 7638 thumbprint', 'jose', async () => {
    const { calculateJwkThumbprint } = await import('jose');
    for (const agent of [tpm, hsm]) {
      if ((await calculateJwkThumbprint({ ...agent.publicJwk })) !== agent.kid)
        throw new Error(`${agent.name} differs`);
    }
  });
  return { tpm, hsm };
}
