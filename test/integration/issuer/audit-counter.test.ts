/** Check 26, attacked: the issuer as witness of counter and logs, over a real TPM and real TLS (S8, S9, S16). */
import { randomBytes } from 'node:crypto';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acceptRollback } from '../../../src/issuer/commands/hosts.ts';
import { attestedData } from '../../../src/wire/attested-data.ts';
import { parse } from '../../../src/wire/check.ts';
import { ENROL_PATH, enrolChallenge, EVIDENCE_PATH } from '../../../src/wire/issuance/enrolment.ts';
import { ISSUE_PATH, type CredentialRequest } from '../../../src/wire/issuance/issue.ts';
import type { AuditCounter } from '../../../src/wire/issuance/log-evidence.ts';
import type { ReattestChallenge } from '../../../src/wire/issuance/reattestation.ts';
import { TPM_NT, TPMA_NV } from '../../../src/wire/tpm/constants.ts';
import { auditCounterPublic } from '../../../src/wire/tpm/audit-counter.ts';
import { serializeNvPublic } from '../../../src/wire/tpm/nv-public.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import { HostLogs, type EvidenceOptions } from '../../support/host-logs.ts';
import type { IssuerAnswer, IssuerConnection } from '../../support/issuer-connection.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { expectOk, json, ProtocolHost } from '../../support/protocol-host.ts';

const REQUEST: CredentialRequest = {
  agentId: '0b4b4c5e-7e0a-4b6a-9a55-0f6a3c1c2d11',
  name: 'pay-1',
  creds: ['x509', 'wit'],
  ttlSeconds: 1800,
};

let nextIndex = 0x0180_0100;
let tpm: AttestedHost;
let issuer: IssuerFixture;
let host: ProtocolHost;
let logs: HostLogs;
let key: HostKey;
let connection: IssuerConnection;

beforeAll(async () => {
  tpm = await AttestedHost.start();
  issuer = await IssuerFixture.start({
    ca: tpm.tpm,
    change: (config) => ({
      ...config,
      limits: { ...config.limits, enrolmentsPerNetworkPerMinute: 10_000, requestsPerHostPerMinute: 10_000 },
    }),
  });
  key = await tpm.createAgentKey();
}, 120_000);
afterAll(async () => {
  await issuer.stop();
  await tpm.stop();
});

/** A host whose logs were seen with ten entries. */
beforeEach(async () => {
  host = await ProtocolHost.create(tpm);
  await issuer.approve({
    label: 'node-1',
    ekSha256: host.ekSha256,
    namePatterns: ['*'],
    principal: 'ops@example.test',
  });
  await forget();
  connection = issuer.connect();
  nextIndex += 1;
  logs = new HostLogs(tpm, host.ak, nextIndex);
  await tpm.countUp(logs.nvIndex);
  host.logs = logs;
  logs.append(...Array.from({ length: 10 }, (_, index) => `entry ${index}`));
  await host.enrol(connection);
  await host.reattest(connection);
});

/** The issuer's operator accepts whatever comes next. */
async function forget(): Promise<void> {
  await acceptRollback(issuer.config, 'node-1', { line: () => undefined }).catch(() => undefined);
}

const dataFor =
  ({ challenge }: Pick<ReattestChallenge, 'challenge'>, on = connection) =>
  (bound: Uint8Array): Uint8Array =>
    attestedData('audit', challenge, bound, on.exporter());

/** The challenge of an issuer that saw nothing. */
const untold = ({ session, challenge, pcrSelection }: ReattestChallenge): ReattestChallenge => ({
  session,
  challenge,
  pcrSelection,
});

/** Re-attests with spoilt log evidence; the rest is honest. */
async function reattestWith(options: EvidenceOptions | AuditCounter | undefined): Promise<IssuerAnswer> {
  const opened = await host.challengeForReattestation(connection);
  const { session, quote } = await host.b3(opened, connection.exporter());
  const auditCounter =
    options === undefined
      ? undefined
      : 'attest' in options
        ? options
        : await logs.evidence(opened.witness, dataFor(opened), options);
  const evidence = { session, quote, ...(auditCounter === undefined ? {} : { auditCounter }) };
  return host.signed(connection, EVIDENCE_PATH, evidence);
}

function expectRefused(answer: IssuerAnswer, check: number, words: string): void {
  expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
  expect(answer.text).toContain(`check ${check} `);
  expect(answer.text).toContain(words);
}

describe('check 26', () => {
  it('lets a host through whose counter goes up and whose log goes on, and remembers it', async () => {
    logs.append('one', 'two', 'three');
    await tpm.countUp(logs.nvIndex);
    const opened = await host.challengeForReattestation(connection);
    expect(opened.witness).toMatchObject({ auditSize: 10 });
    expectOk(await host.signed(connection, EVIDENCE_PATH, await host.b3(opened, connection.exporter())));
    const next = await host.challengeForIssuance(connection, REQUEST);
    expect(next.witness).toEqual(logs.head(await tpm.counter(logs.nvIndex)));
    logs.append('four');
    const m7 = await host.m7(next, REQUEST, key, connection.exporter());
    expectOk(await host.signed(connection, ISSUE_PATH, m7));
    expect((await host.challengeForReattestation(connection)).witness).toMatchObject({ auditSize: 14 });
    expect(issuer.log.some((line) => line.includes('26'))).toBe(true);
  });

  it('refuses an issuance without auditCounter, and gives nothing', async () => {
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const { session, tpmKey, csr } = await host.m7(opened, REQUEST, key, connection.exporter());
    expectRefused(
      await host.signed(connection, ISSUE_PATH, { session, tpmKey, csr }),
      26,
      'auditCounter is missing',
    );
  });

  it('refuses a re-attestation without auditCounter, and the standing ends', async () => {
    expectRefused(await reattestWith(undefined), 26, 'auditCounter is missing');
    const answer = await host.signed(connection, '/v1/issue/challenge', { akId: host.akId, req: REQUEST });
    expect(answer).toMatchObject({ status: 403, code: 'appraisal_denied' });
  });

  it('refuses the word of a host without a counter from one that has one', async () => {
    const opened = await host.challengeForReattestation(connection);
    const { auditCounter, ...rest } = await host.b3(opened, connection.exporter());
    const { head, consistency } = auditCounter ?? { head: undefined, consistency: [] };
    const answer = await host.signed(connection, EVIDENCE_PATH, {
      ...rest,
      auditHead: { head, consistency },
    });
    expectRefused(answer, 26, 'auditCounter is missing');
  });

  it('S9: refuses a certificate of another session, of another operation, or for another connection', async () => {
    const earlier = await host.challengeForReattestation(connection);
    const replayed = await logs.evidence(earlier.witness, dataFor(earlier));
    expectRefused(await reattestWith(replayed), 14, 'audit counter');

    const opened = await host.challengeForReattestation(connection);
    const asQuote = (bound: Uint8Array): Uint8Array =>
      attestedData('reattest', opened.challenge, bound, connection.exporter());
    const honest = await host.b3(opened, connection.exporter());
    const auditCounter = await logs.evidence(opened.witness, asQuote);
    expectRefused(
      await host.signed(connection, EVIDENCE_PATH, { ...honest, auditCounter }),
      14,
      'audit counter',
    );

    await host.enrol(connection);
    const again = await host.challengeForReattestation(connection);
    const elsewhere = issuer.connect();
    await elsewhere.get('/healthz');
    const b3 = await host.b3(again, connection.exporter());
    const foreign = await logs.evidence(again.witness, dataFor(again, elsewhere));
    expectRefused(
      await host.signed(connection, EVIDENCE_PATH, { ...b3, auditCounter: foreign }),
      14,
      'audit counter',
    );
  });

  it('refuses a head that the certificate does not bind', async () => {
    for (const shown of [
      { auditSize: 11 },
      { auditHead: randomBytes(32).toString('base64url') },
      { ledgerHead: randomBytes(32).toString('base64url') },
      { epoch: '99' },
    ]) {
      expectRefused(await reattestWith({ shown }), 14, 'audit counter');
      await host.enrol(connection);
    }
  });

  it('refuses a ledger of another epoch than the counter’s value', async () => {
    const value = await tpm.counter(logs.nvIndex);
    for (const epoch of [value - 1n, value + 1n]) {
      expectRefused(await reattestWith({ head: { epoch: String(epoch) } }), 26, 'the counter is at');
      await host.enrol(connection);
    }
  });

  it('refuses another index of the same TPM', async () => {
    nextIndex += 1;
    await tpm.countUp(nextIndex);
    const value = await tpm.counter(nextIndex);
    expectRefused(
      await reattestWith({ nvIndex: nextIndex, head: { epoch: String(value) } }),
      26,
      'not the counter that was enrolled',
    );
  });

  it('refuses an index that was defined anew with other attributes', async () => {
    await tpm.removeCounter(logs.nvIndex);
    const nv = auditCounterPublic(logs.nvIndex, false);
    await tpm.countUp(logs.nvIndex, { ...nv, attributes: (nv.attributes | TPMA_NV.ownerWrite) >>> 0 });
    expectRefused(await reattestWith({}), 26, 'not the counter that was enrolled');
  });

  it('S8: refuses a virtual TPM that was set back with its counter', async () => {
    const copy = join(tpm.tpm.dir, `copy-${nextIndex}`);
    await cp(join(tpm.tpm.dir, 'state'), copy, { recursive: true });
    await tpm.countUp(logs.nvIndex);
    await host.reattest(connection);
    await tpm.setBack(copy);
    expectRefused(await reattestWith({}), 26, 'and was seen at');
  });

  it('S8: refuses an audit log that is shorter than it was seen', async () => {
    logs.cutTo(9);
    expectRefused(await reattestWithoutProof(), 26, 'an older copy');
  });

  it('S8: refuses an audit log that was cut, or is another from some entry on', async () => {
    logs.cutTo(8);
    logs.append('other 8', 'other 9', 'other 10', 'other 11');
    expectRefused(await reattestWith({}), 26, 'does not go on');
    await host.enrol(connection);
    // Nor without a proof.
    expectRefused(await reattestWithoutProof(), 26, 'does not go on');
  });

  it('S8: enrolling again begins nothing anew, and leaves no counter behind', async () => {
    logs.cutTo(8);
    logs.append('other 8', 'other 9', 'other 10');
    await host.enrol(connection);
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const m7 = await host.m7(opened, REQUEST, key, connection.exporter());
    expectRefused(await host.signed(connection, ISSUE_PATH, m7), 26, 'does not go on');

    host.logs = undefined;
    const m1 = host.m1();
    const m2 = parse(enrolChallenge, expectOk(await connection.post(ENROL_PATH, json(m1))));
    const answer = await connection.post(EVIDENCE_PATH, json(await host.m3(m1, m2, connection.exporter())));
    expectRefused(answer, 26, 'enrols without one');
  });

  it('S8: a fork between two sessions shows: evidence counts against what its challenge told', async () => {
    const first = await host.challengeForReattestation(connection);
    const second = await host.challengeForReattestation(connection);
    logs.append('ten');
    expectOk(await host.signed(connection, EVIDENCE_PATH, await host.b3(first, connection.exporter())));
    logs.cutTo(10);
    logs.append('another ten');
    const answer = await host.signed(connection, EVIDENCE_PATH, await host.b3(second, connection.exporter()));
    expect(answer).toMatchObject({ status: 409, code: 'conflict' });
  });

  it('an operator of the issuer accepts what was lost, on record, and the host goes on', async () => {
    logs.cutTo(3);
    expectRefused(await reattestWithoutProof(), 26, 'an older copy');
    const lines: string[] = [];
    await acceptRollback(issuer.config, 'node-1', { line: (text) => lines.push(text) });
    expect(lines[0]).toContain('node-1');
    await host.enrol(connection);
    await host.reattest(connection);
    expect((await host.challengeForReattestation(connection)).witness).toMatchObject({ auditSize: 3 });
  });

  it('enrols no index that is not a counter of the one form', async () => {
    const nv = auditCounterPublic(logs.nvIndex, true);
    for (const wrong of [
      { ...nv, attributes: (nv.attributes & ~0xf0) | TPM_NT.ordinary },
      { ...nv, attributes: (nv.attributes | TPMA_NV.orderly) >>> 0 },
      { ...nv, attributes: (nv.attributes | TPMA_NV.ownerWrite) >>> 0 },
      { ...nv, attributes: (nv.attributes | TPMA_NV.policyWrite) >>> 0 },
      { ...nv, nvIndex: 0x0140_0001 },
      { ...nv, authPolicy: new Uint8Array(32) },
    ]) {
      Object.defineProperty(logs, 'nvPublic', { value: serializeNvPublic(wrong), configurable: true });
      const m1 = host.m1();
      const m2 = parse(enrolChallenge, expectOk(await connection.post(ENROL_PATH, json(m1))));
      const answer = await connection.post(EVIDENCE_PATH, json(await host.m3(m1, m2, connection.exporter())));
      expectRefused(answer, 26, 'no counter for the audit log');
    }
  });
});

/** Re-attests as if nothing had been seen. */
async function reattestWithoutProof(): Promise<IssuerAnswer> {
  const opened = await host.challengeForReattestation(connection);
  const evidence = await host.b3(untold(opened), connection.exporter());
  return host.signed(connection, EVIDENCE_PATH, evidence);
}
