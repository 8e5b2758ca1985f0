/** S20: what agents of a host ask for does not keep the host from proving itself. */
import { expect, it } from 'vitest';
import { ISSUE_CHALLENGE_PATH } from '../../../src/wire/issuance/issue.ts';
import { AttestedHost } from '../../support/attested-host.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { ProtocolHost } from '../../support/protocol-host.ts';

it('S20: agents that use up the share of issuance leave the share of re-attestation', async () => {
  const tpm = await AttestedHost.start();
  const issuer = await IssuerFixture.start({
    ca: tpm.tpm,
    change: (config) => ({ ...config, limits: { ...config.limits, requestsPerHostPerMinute: 4 } }),
  });
  try {
    const host = await ProtocolHost.create(tpm);
    await issuer.approve({
      label: 'node-1',
      ekSha256: host.ekSha256,
      namePatterns: ['*'],
      principal: 'ops@example.test',
    });
    const connection = issuer.connect();
    await host.enrol(connection);
    const req = {
      agentId: 'd0000000-0000-4000-8000-000000000001',
      name: 'greedy',
      creds: ['wit'],
      ttlSeconds: 600,
    };
    const statuses: number[] = [];
    for (let attempt = 0; attempt < 6; attempt += 1) {
      statuses.push((await host.signed(connection, ISSUE_CHALLENGE_PATH, { akId: host.akId, req })).status);
    }
    expect(statuses).toContain(429);
    expect((await host.reattest(connection)).akId).toBe(host.akId);
  } finally {
    await issuer.stop();
    await tpm.stop();
  }
}, 60_000);
