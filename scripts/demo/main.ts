#!/usr/bin/env node
/** `npm run demo`: the whole product on one machine, step by step, each claim checked by somebody else. */
import { connect } from 'agentkeyd/client';
import { showAuthority } from './authority.ts';
import { showCredentials } from './credentials.ts';
import { showHost } from './host.ts';
import { showKeys } from './keys.ts';
import { close, fact, step } from './narrator.ts';
import { showRefusals } from './refusals.ts';
import { showRequests } from './requests.ts';
import { startSandbox } from './sandbox.ts';

step('A sandbox: swtpm, SoftHSM, agentkey-issuer and agentkeyd on this machine');
console.log('   The TPM and the token are software here, and every credential below says so.');
const sandbox = await startSandbox();
try {
  const { description } = sandbox;
  fact('socket', description.socket);
  fact('issuer', `${description.issuer} at ${description.issuerUrl}`);
  fact('processes', Object.keys(description.pids).join(', '));
  const client = connect({ socketPath: description.socket });
  try {
    const issuer = await showHost(client, description);
    const agents = await showKeys(client);
    await showCredentials(agents, issuer, sandbox.dir);
    await showRequests(agents, issuer);
    await showAuthority(client, agents, issuer, sandbox);
    await showRefusals(client, agents, description, sandbox.dir);
  } finally {
    client.close();
  }
} finally {
  await sandbox.end();
}
process.exitCode = close();
