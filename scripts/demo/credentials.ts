/** Step: attested credentials, read and verified by others. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createLocalJWKSet, decodeJwt, jwtVerify, type JSONWebKeySet } from 'jose';
import type { AgentHandle, CredentialsView } from 'agentkeyd/client';
import type { DemoIssuer } from './host.ts';
import type { DemoAgents } from './keys.ts';
import { check, fact, short, step } from './narrator.ts';
import { tool } from './tools.ts';

export async function showCredentials(agents: DemoAgents, issuer: DemoIssuer, dir: string): Promise<void> {
  step('Each key is certified by the AK and gets a certificate, a WIT and an AAuth agent token');
  for (const agent of [agents.tpm, agents.hsm]) {
    const credentials = await agent.renewCredentials();
    fact(agent.name, `assurance ${credentials.assurance}, renewed from ${credentials.renewAt ?? '-'}`);
    await checkCertificate(agent, credentials, issuer, dir);
    await checkToken('WIT', agent, credentials.wit, issuer, issuer.witKeys);
    await checkToken('agent token', agent, credentials.agentToken, issuer, issuer.agentTokenKeys);
    fact('EAR', short(JSON.stringify(decodeJwt(credentials.ear ?? '')['ear_status'])));
  }
}

async function checkCertificate(
  agent: AgentHandle,
  { x509 }: CredentialsView,
  issuer: DemoIssuer,
  dir: string,
): Promise<void> {
  const leaf = join(dir, `${agent.name}.pem`);
  const ca = join(dir, 'x509-ca.pem');
  await writeFile(leaf, x509?.chain[0] ?? '');
  await writeFile(ca, issuer.x509Ca);
  await check(`${agent.name}: the certificate chains to the issuer`, 'openssl verify', async () =>
    tool('openssl', ['verify', '-x509_strict', '-CAfile', ca, leaf]),
  );
  await check(`${agent.name}: it names exactly the agent’s SPIFFE ID`, 'openssl x509', async () => {
    const names = await tool('openssl', ['x509', '-in', leaf, '-noout', '-ext', 'subjectAltName']);
    if (!names.includes(`URI:${agent.view.identifiers.spiffeId ?? ''}`)) throw new Error(names);
  });
}

async function checkToken(
  what: string,
  agent: AgentHandle,
  token: string | null,
  issuer: DemoIssuer,
  keys: unknown,
): Promise<void> {
  await check(`${agent.name}: the ${what} is the issuer’s and confirms this key`, 'jose', async () => {
    const { payload } = await jwtVerify(token ?? '', createLocalJWKSet(keys as JSONWebKeySet), {
      issuer: issuer.issuer,
    });
    const { jwk } = payload['cnf'] as { readonly jwk: Readonly<Record<string, unknown>> };
    if (agent.publicJwk.kty === 'EC' && jwk['x'] !== agent.publicJwk.x)
      throw new Error('it confirms another key');
  });
}
