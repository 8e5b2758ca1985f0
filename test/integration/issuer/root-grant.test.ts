/** Root grants and credentials of sub-agents: a real TPM, a real issuer, the grant key in SoftHSM. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SANDBOX_GRANT, type SandboxHost } from '../../../scripts/sandbox/issuer.ts';
import { verifyChain, type ChainRules } from '../../../src/delegation/chain.ts';
import type { CredentialRequest, IssuedCredentials } from '../../../src/wire/issuance/issue.ts';
import { jwkThumbprint } from '../../../src/wire/jwk.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import { codeOf } from '../../support/code-of.ts';
import type { IssuerConnection } from '../../support/issuer-connection.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { jwkOf, ProtocolHost } from '../../support/protocol-host.ts';

const AGENT_ID = randomUUID();

let tpm: AttestedHost;
let issuer: IssuerFixture;
let host: ProtocolHost;
let connection: IssuerConnection;
let rules: ChainRules;
const cleanUp: (() => Promise<void>)[] = [];

const request = (more: Partial<CredentialRequest> = {}): CredentialRequest => ({
  agentId: AGENT_ID,
  name: 'planner',
  creds: ['x509', 'wit', 'aauth'],
  ttlSeconds: 1800,
  ...more,
});

const approve = (more: Partial<SandboxHost> = {}): Promise<void> =>
  issuer.approve({
    label: 'node-1',
    ekSha256: host.ekSha256,
    namePatterns: ['planner*'],
    principal: 'ops@example.test',
    grant: SANDBOX_GRANT,
    ...more,
  });

beforeAll(async () => {
  tpm = await AttestedHost.start();
  cleanUp.push(() => tpm.stop());
  issuer = await IssuerFixture.start({ ca: tpm.tpm });
  cleanUp.push(() => issuer.stop());
  host = await ProtocolHost.create(tpm);
  await approve();
  connection = issuer.connect();
  await host.enrol(connection);
  const metadata = await issuer.metadata();
  rules = {
    grantKeys: [metadata.keys.grant],
    issuer: metadata.issuer,
    trustDomain: metadata.trustDomain,
    allowDevelopment: true,
    nowSeconds: Math.floor(Date.now() / 1000),
    clockSkewSeconds: 60,
  };
}, 60_000);
afterAll(async () => {
  for (const step of cleanUp.toReversed()) await step();
});

function grantOf({ grant }: IssuedCredentials): string {
  if (grant === undefined) throw new Error('no grant was issued');
  return grant;
}

describe('DT0', () => {
  let key: HostKey;
  let issued: IssuedCredentials;
  beforeAll(async () => {
    key = await tpm.createAgentKey();
    issued = await host.issue(connection, request(), key);
  });

  it('comes with the credentials and verifies as a chain under the published grant key', () => {
    const { root } = verifyChain([grantOf(issued)], rules);
    expect(root.claims).toMatchObject({
      iss: issuer.config.issuer,
      sub: 'ops@example.test',
      client_id: issued.spiffeId,
      cnf: { jwk: jwkOf(key), jkt: jwkThumbprint(jwkOf(key)) },
      del_depth: 0,
      del_max_depth: 8,
      approval: { kind: 'development' },
    });
    expect(root.claims.exp - root.claims.iat).toBe(30 * 86_400);
    expect(root.scopes).toEqual(['*']);
  });

  it('S14: does not verify under any other key of the issuer', async () => {
    const { keys } = await issuer.metadata();
    for (const purpose of ['challenge', 'wit', 'ear', 'status'] as const) {
      const other = { ...rules, grantKeys: [keys[purpose]] };
      expect(codeOf(() => verifyChain([grantOf(issued)], other))).toBe('verification_failed');
    }
  });

  it('S6: has the same id after rotation, for other agents, and under other terms', async () => {
    const { jti } = verifyChain([grantOf(issued)], rules).root.claims;
    const rotated = await tpm.createAgentKey();
    const again = verifyChain([grantOf(await host.issue(connection, request(), rotated))], rules);
    expect(again.root.claims.jti).toBe(jti);
    expect(again.leaf.claims.cnf.jkt).toBe(jwkThumbprint(jwkOf(rotated)));
    const other = request({ agentId: randomUUID(), name: 'planner-2' });
    try {
      await approve({ grant: { ...SANDBOX_GRANT, scopes: ['mail.*'], constraints: [] } });
      const issuedToOther = await host.issue(connection, other, await tpm.createAgentKey());
      const { root } = verifyChain([grantOf(issuedToOther)], rules);
      expect(root.claims.jti).toBe(jti);
      expect(root.scopes).toEqual(['mail.*']);
    } finally {
      await approve();
    }
  });

  it('S1: is not given to an agent that asks for a certificate alone, nor to a host without a grant', async () => {
    const rawSigner = request({ agentId: randomUUID(), name: 'planner-raw', creds: ['x509'] });
    expect(await host.issue(connection, rawSigner, await tpm.createAgentKey())).not.toHaveProperty('grant');
    try {
      await issuer.approve({
        label: 'node-1',
        ekSha256: host.ekSha256,
        namePatterns: ['planner*'],
        principal: 'ops@example.test',
      });
      expect(await host.issue(connection, request(), key)).not.toHaveProperty('grant');
    } finally {
      await approve();
    }
  });
});
