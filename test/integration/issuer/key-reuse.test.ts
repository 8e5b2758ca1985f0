/** S1, S9: one key, one role, one name. Whoever gets a key certified twice can have what it signs told two ways. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ISSUE_PATH, type CredentialRequest } from '../../../src/wire/issuance/issue.ts';
import { parsePublicJwk } from '../../../src/wire/jwk.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import { ecKeyPair, makeSoftwareCsr } from '../../support/certificates.ts';
import type { IssuerAnswer, IssuerConnection } from '../../support/issuer-connection.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { ProtocolHost } from '../../support/protocol-host.ts';

const TOKEN = { manufacturer: 'Example HSM', model: 'Net 1', serial: '0001' };
const FIRST = 'c0000000-0000-4000-8000-000000000001';
const SECOND = 'c0000000-0000-4000-8000-000000000002';

let issuer: IssuerFixture;
let host: ProtocolHost;
let other: ProtocolHost;
let connection: IssuerConnection;
const cleanUp: (() => Promise<void>)[] = [];

beforeAll(async () => {
  const tpm = await AttestedHost.start();
  cleanUp.push(() => tpm.stop());
  const otherTpm = await AttestedHost.start({ template: 'L-1' });
  cleanUp.push(() => otherTpm.stop());
  issuer = await IssuerFixture.start({ ca: tpm.tpm });
  cleanUp.push(() => issuer.stop());
  host = await ProtocolHost.create(tpm);
  other = await ProtocolHost.create(otherTpm);
  // A network HSM that two hosts use.
  const approved = { namePatterns: ['*'], principal: 'ops@example.test', tokens: [TOKEN] };
  await issuer.approve(
    { ...approved, label: 'node-1', ekSha256: host.ekSha256 },
    { ...approved, label: 'node-2', ekSha256: other.ekSha256 },
  );
  connection = issuer.connect();
  await host.enrol(connection);
  await other.enrol(issuer.connect());
}, 60_000);
afterAll(async () => {
  for (const step of cleanUp.toReversed()) await step();
});

function request(name: string, agentId: string): CredentialRequest {
  return { agentId, name, creds: ['wit'], ttlSeconds: 600 };
}

async function issue(req: CredentialRequest, key: HostKey): Promise<IssuerAnswer> {
  const opened = await host.challengeForIssuance(connection, req);
  return host.signed(connection, ISSUE_PATH, await host.m7(opened, req, key, connection.exporter()));
}

it('S1: neither the host key nor the audit key becomes an agent key', async () => {
  for (const [name, key] of [
    ['as-host', host.hostKey],
    ['as-audit', host.auditKey],
  ] as const) {
    const answer = await issue(request(name, FIRST), key);
    expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
  }
});

it('S1: a key that agents use never becomes a host key', async () => {
  const key = await host.host.createAgentKey();
  expect((await issue(request('worker', FIRST), key)).status).toBe(200);
  const posing = Object.assign(Object.create(ProtocolHost.prototype) as ProtocolHost, host, { hostKey: key });
  await expect(posing.enrol(issuer.connect())).rejects.toThrow(/evidence_invalid/);
  expect((await issue(request('worker', FIRST), key)).status).toBe(200);
});

it('S9: one key is not certified for a second agent of the host', async () => {
  const key = await host.host.createAgentKey();
  expect((await issue(request('one', SECOND), key)).status).toBe(200);
  const answer = await issue(request('two', 'c0000000-0000-4000-8000-000000000003'), key);
  expect(answer).toMatchObject({ status: 409, code: 'conflict' });
});

it("S9: a copy of another host's CSR gets that host's token key no second name", async () => {
  const keys = ecKeyPair();
  const jwk = parsePublicJwk({ ...keys.publicKey.export({ format: 'jwk' }), alg: 'ES256' });
  const csr = makeSoftwareCsr(keys);
  const claim = async (by: ProtocolHost, over: IssuerConnection, agentId: string): Promise<IssuerAnswer> => {
    const req = request('shared', agentId);
    const { session } = await by.challengeForIssuance(over, req);
    return by.signed(over, ISSUE_PATH, { session, tokenKey: { jwk, token: TOKEN }, csr });
  };
  expect((await claim(host, connection, 'c0000000-0000-4000-8000-000000000004')).status).toBe(200);
  const thief = await claim(other, issuer.connect(), 'c0000000-0000-4000-8000-000000000005');
  expect(thief).toMatchObject({ status: 409, code: 'conflict' });
});
