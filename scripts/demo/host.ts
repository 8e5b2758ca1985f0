/** Step: what the issuer has found out about this host. */
import { readFile } from 'node:fs/promises';

import type { AgentKeyClient } from 'agentkeyd/client';
import type { SandboxDescription } from '../sandbox/description.ts';
import { askIssuer } from './issuer-client.ts';
import { check, fact, short, step } from './narrator.ts';
import type { PinnedIssuer } from './resource-server.ts';

export interface DemoIssuer extends PinnedIssuer {
  readonly x509Ca: string;
  readonly url: string;
  readonly ca: string;
  readonly grantKeys: unknown;
  readonly statusKeys: unknown;
}

interface HostStatus {
  readonly state: string;
  readonly label: string | null;
  readonly ekSha256: string | null;
  readonly akId: string | null;
  readonly assurance: string | null;
  readonly developmentPolicy: string | null;
  readonly standingExpiresAt: string | null;
}

export async function showHost(client: AgentKeyClient, sandbox: SandboxDescription): Promise<DemoIssuer> {
  step('The host is enrolled: EK certificate chain, credential activation, quote');
  const status = await client.status();
  const host = status['host'] as HostStatus;
  fact('host', host.label ?? '(none)');
  fact('EK (SHA-256)', short(host.ekSha256 ?? '', 40));
  fact('AK Name', short(host.akId ?? '', 40));
  fact('assurance', `${host.assurance ?? '-'}, accepted by the policy "${host.developmentPolicy ?? 'none'}"`);
  fact('standing until', host.standingExpiresAt ?? '-');
  fact('rollback', String(status['rollback']));

  const ca = await readFile(sandbox.issuerCaFile, 'utf8');
  const published = async (path: string) => (await askIssuer(sandbox.issuerUrl + path, ca)).body;
  const metadata = await published('/.well-known/agentkey-issuer');
  await check(
    'the host is enrolled and its AK was activated',
    'agentkey-issuer, checks 1 to 22 and 27',
    () => {
      if (host.state !== 'enrolled') throw new Error(`its state is ${host.state}`);
    },
  );
  await check('the assurance is "software" and names the policy that let it pass', 'this demo', () => {
    if (host.assurance !== 'software' || host.developmentPolicy === null)
      throw new Error(JSON.stringify(host));
  });
  return {
    url: sandbox.issuerUrl,
    ca,
    issuer: sandbox.issuer,
    trustDomain: sandbox.trustDomain,
    aauthDomain: sandbox.aauthDomain,
    witKeys: await published('/v1/keys/wit.json'),
    agentTokenKeys: await published('/v1/keys/agent-token.json'),
    grantKeys: await published('/v1/keys/grant.json'),
    statusKeys: await published('/v1/keys/status.json'),
    x509Ca: metadata['x509Ca'] as string,
  };
}
