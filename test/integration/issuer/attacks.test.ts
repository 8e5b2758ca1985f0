/** Attacks on the issuance protocol, mounted by a real TPM over real TLS; named after the requirement they break. */
import { randomBytes } from 'node:crypto';
import { decodeJwt } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { attestedData, thirdPartyQuoteData } from '../../../src/wire/attested-data.ts';
import { parse } from '../../../src/wire/check.ts';
import { ENROL_PATH, enrolChallenge, EVIDENCE_PATH } from '../../../src/wire/issuance/enrolment.ts';
import {
  ISSUE_CHALLENGE_PATH,
  ISSUE_PATH,
  type CredentialRequest,
} from '../../../src/wire/issuance/issue.ts';
import { REATTEST_CHALLENGE_PATH, reattestationBound } from '../../../src/wire/issuance/reattestation.ts';
import { ATTESTED_PCRS } from '../../../src/wire/tpm/pcr-selection.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import type { IssuerConnection } from '../../support/issuer-connection.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { expectOk, json, ProtocolHost } from '../../support/protocol-host.ts';

const REQUEST: CredentialRequest = {
  agentId: '0b4b4c5e-7e0a-4b6a-9a55-0f6a3c1c2d11',
  name: 'pay-1',
  creds: ['x509', 'wit'],
  ttlSeconds: 1800,
};

let issuer: IssuerFixture;
/** Two hosts with a TPM each; the attacker may be either, or in between. */
let host: ProtocolHost;
let other: ProtocolHost;
let key: HostKey;
let connection: IssuerConnection;
const cleanUp: (() => Promise<void>)[] = [];

const approvals = () =>
  [
    { label: 'node-1', ekSha256: host.ekSha256, namePatterns: ['pay-*'], principal: 'ops@example.test' },
    { label: 'node-2', ekSha256: other.ekSha256, namePatterns: ['pay-*'], principal: 'ops@example.test' },
  ] as const;

beforeAll(async () => {
  const tpm = await AttestedHost.start();
  cleanUp.push(() => tpm.stop());
  const otherTpm = await AttestedHost.start({ template: 'L-1' });
  cleanUp.push(() => otherTpm.stop());
  issuer = await IssuerFixture.start({
    ca: tpm.tpm,
    change: (config) => ({
      ...config,
      limits: { ...config.limits, enrolmentsPerNetworkPerMinute: 10_000 },
    }),
  });
  cleanUp.push(() => issuer.stop());
  host = await ProtocolHost.create(tpm);
  other = await ProtocolHost.create(otherTpm);
  await issuer.approve(...approvals());
  connection = issuer.connect();
  await host.enrol(connection);
  await other.enrol(issuer.connect());
  key = await tpm.createAgentKey();
}, 120_000);
afterAll(async () => {
  for (const step of cleanUp.toReversed()) await step();
});
afterEach(async () => {
  issuer.clockOffsetMs = 0;
  await issuer.approve(...approvals());
  await host.reattest(connection);
});

describe('S9: attestation has one meaning per signature', () => {
  it('S9: a relay through another connection is refused at enrolment', async () => {
    const middleman = issuer.connect();
    const m1 = host.m1();
    const m2 = parse(enrolChallenge, expectOk(await middleman.post(ENROL_PATH, json(m1))));
    // The victim binds the connection it has: the one to the middleman, which the issuer never sees.
    await connection.get('/healthz');
    const m3 = await host.m3(m1, m2, connection.exporter());
    const answer = await middleman.post(EVIDENCE_PATH, json(m3));
    expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
    expect(answer.text).toContain('check 14');
  });

  it('S9: a downgrade to zeros is refused where the exporter is configured', async () => {
    const m1 = host.m1();
    const m2 = parse(enrolChallenge, expectOk(await connection.post(ENROL_PATH, json(m1))));
    const answer = await connection.post(EVIDENCE_PATH, json(await host.m3(m1, m2, undefined)));
    expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
    expect(answer.text).toContain('check 14');
  });

  it('S9: evidence for the challenge of a second issuer proves nothing to this one', async () => {
    const [ours, theirs] = [
      await host.challengeForReattestation(connection),
      await host.challengeForReattestation(issuer.connect()),
    ];
    // What another issuer had signed, whatever it says, is another challenge.
    const bound = reattestationBound(host.akId, ours.session);
    const extraData = attestedData('reattest', theirs.challenge, bound, connection.exporter());
    const quote = await host.host.quote(host.ak, ATTESTED_PCRS, extraData);
    const answer = await host.signed(connection, EVIDENCE_PATH, { session: ours.session, quote });
    expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
  });

  it('S9: a third-party quote is no re-attestation, whatever nonce the third party chose', async () => {
    const { session, challenge } = await host.challengeForReattestation(connection);
    const wanted = attestedData(
      'reattest',
      challenge,
      reattestationBound(host.akId, session),
      connection.exporter(),
    );
    const nonce = thirdPartyQuoteData(issuer.config.issuer, wanted);
    const quote = await host.host.quote(host.ak, ATTESTED_PCRS, nonce);
    const answer = await host.signed(connection, EVIDENCE_PATH, { session, quote });
    expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
    expect(answer.text).toContain('check 14');
  });

  it('S9: a quote made for an issuance is no re-attestation', async () => {
    const { session, challenge } = await host.challengeForReattestation(connection);
    const bound = reattestationBound(host.akId, session);
    const extraData = attestedData('issue-quote', challenge, bound, connection.exporter());
    const quote = await host.host.quote(host.ak, ATTESTED_PCRS, extraData);
    const answer = await host.signed(connection, EVIDENCE_PATH, { session, quote });
    expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
  });

  it('S9: a session is good once, whether it succeeds or fails', async () => {
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const m7 = await host.m7(opened, REQUEST, key, connection.exporter());
    expect((await host.signed(connection, ISSUE_PATH, m7)).status).toBe(200);
    expect(await host.signed(connection, ISSUE_PATH, m7)).toMatchObject({
      status: 409,
      code: 'session_unknown',
    });

    const spoilt = await host.challengeForIssuance(connection, REQUEST);
    const good = await host.m7(spoilt, REQUEST, key, connection.exporter());
    const bad = { ...good, csr: await host.csr(await host.host.createAgentKey()) };
    expect((await host.signed(connection, ISSUE_PATH, bad)).code).toBe('evidence_invalid');
    expect((await host.signed(connection, ISSUE_PATH, good)).code).toBe('session_unknown');
  });

  it('S9: a session that has expired is unknown', async () => {
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const m7 = await host.m7(opened, REQUEST, key, connection.exporter());
    issuer.clockOffsetMs = 61_000;
    const created = Math.floor(Date.now() / 1000) + 61;
    expect(await host.signed(connection, ISSUE_PATH, m7, { created })).toMatchObject({
      code: 'session_unknown',
    });
  });

  it('S9: a session opened for one operation is no good for another', async () => {
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const bound = reattestationBound(host.akId, opened.session);
    const extraData = attestedData('reattest', opened.challenge, bound, connection.exporter());
    const quote = await host.host.quote(host.ak, ATTESTED_PCRS, extraData);
    const answer = await host.signed(connection, EVIDENCE_PATH, { session: opened.session, quote });
    expect(answer.code).toBe('session_unknown');
  });

  it('S9: a session is a name, not a credential: another host can neither use nor spoil it', async () => {
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const m7 = await host.m7(opened, REQUEST, key, connection.exporter());
    expect(await other.signed(issuer.connect(), ISSUE_PATH, m7)).toMatchObject({ code: 'session_unknown' });
    expect((await host.signed(connection, ISSUE_PATH, m7)).status).toBe(200);
  });
});

describe('S1 and DECISIONS 11: host signatures', () => {
  const body = () => ({ akId: host.akId });
  const send = (options: Parameters<ProtocolHost['signed']>[3]) =>
    host.signed(connection, REATTEST_CHALLENGE_PATH, body(), options);

  it('S4: a signature is good once', async () => {
    const octets = json(body());
    const headers = await host.signatureHeaders(REATTEST_CHALLENGE_PATH, octets);
    expect((await connection.post(REATTEST_CHALLENGE_PATH, octets, headers)).status).toBe(200);
    expect(await issuer.connect().post(REATTEST_CHALLENGE_PATH, octets, headers)).toMatchObject({
      status: 401,
      code: 'replayed',
    });
  });

  it.each([
    [
      'by another key of the same TPM',
      async () => send({ key: await host.host.createAgentKey() }),
      'signature_invalid',
    ],
    ['by the audit key', () => send({ key: host.auditKey }), 'signature_invalid'],
    ['in the name of another host', () => send({ keyid: 'A'.repeat(43) }), 'signature_invalid'],
    [
      'for another origin',
      () => send({ targetUri: `https://localhost:8443${REATTEST_CHALLENGE_PATH}` }),
      'signature_invalid',
    ],
    ['for another path', () => send({ targetUri: `${issuer.config.url}${ISSUE_PATH}` }), 'signature_invalid'],
    ['for another method', () => send({ method: 'GET' }), 'signature_invalid'],
    [
      'from a minute and more ago',
      () => send({ created: Math.floor(Date.now() / 1000) - 75 }),
      'verification_failed',
    ],
    ['from the future', () => send({ created: Math.floor(Date.now() / 1000) + 75 }), 'verification_failed'],
    ['without the content', () => send({ components: ['@method', '@target-uri'] }), 'verification_failed'],
    [
      'over more than is agreed',
      () => send({ components: ['@method', '@target-uri', 'content-digest', '@path'] }),
      'verification_failed',
    ],
    ['with the tag of an agent', () => send({ tag: 'agent' }), 'verification_failed'],
    [
      'with a parameter nobody knows',
      () => send({ moreParameters: [['alg', 'ecdsa-p256-sha256']] }),
      'verification_failed',
    ],
    ['with a short nonce', () => send({ nonce: 'abc' }), 'verification_failed'],
  ])('refuses a signature %s', async (_what, attempt, code) => {
    expect(await attempt()).toMatchObject({ status: 401, code });
  });

  it('refuses another body under the same signature, also where the digest is changed with it', async () => {
    const octets = json(body());
    const swapped = json({ akId: other.akId });
    const headers = await host.signatureHeaders(REATTEST_CHALLENGE_PATH, octets);
    expect((await connection.post(REATTEST_CHALLENGE_PATH, swapped, headers)).code).toBe(
      'verification_failed',
    );
    const theirs = await host.signatureHeaders(REATTEST_CHALLENGE_PATH, swapped);
    const mixed = { ...headers, 'content-digest': theirs['content-digest'] ?? '' };
    expect((await connection.post(REATTEST_CHALLENGE_PATH, swapped, mixed)).code).toBe('signature_invalid');
  });

  it('refuses a request without a signature, and one with two', async () => {
    const octets = json(body());
    expect((await connection.post(REATTEST_CHALLENGE_PATH, octets)).code).toBe('verification_failed');
    const headers = await host.signatureHeaders(REATTEST_CHALLENGE_PATH, octets);
    const doubled = { ...headers, signature: [headers['signature'] ?? '', headers['signature'] ?? ''] };
    const answer = await connection.send(
      'POST',
      REATTEST_CHALLENGE_PATH,
      { 'content-type': 'application/json', ...doubled },
      octets,
    );
    expect(answer).toMatchObject({ status: 400, code: 'invalid_header' });
  });

  it('ignores what the request says about its host', async () => {
    const octets = json(body());
    const headers = await host.signatureHeaders(REATTEST_CHALLENGE_PATH, octets, {
      targetUri: `https://evil.example${REATTEST_CHALLENGE_PATH}`,
    });
    const forged = { ...headers, host: 'evil.example', 'x-forwarded-host': 'evil.example' };
    expect((await connection.post(REATTEST_CHALLENGE_PATH, octets, forged)).code).toBe('signature_invalid');
  });
});

describe('one host does not get what is another’s', () => {
  it('S13: a host speaks for its own AK only', async () => {
    const answer = await other.signed(issuer.connect(), ISSUE_CHALLENGE_PATH, {
      akId: host.akId,
      req: REQUEST,
    });
    expect(answer).toMatchObject({ status: 403, code: 'policy_denied' });
  });

  it('S6: the same name on another host is another agent', async () => {
    await host.issue(connection, REQUEST, key);
    const theirs = { ...REQUEST, agentId: '11111111-7e0a-4b6a-9a55-0f6a3c1c2d11' };
    const issued = await other.issue(issuer.connect(), theirs, await other.host.createAgentKey());
    expect(issued.spiffeId).toBe('spiffe://sandbox.test/agent/node-2/pay-1');
  });

  it('S6: a name stays with its agent also where its label goes to another TPM', async () => {
    await host.issue(connection, REQUEST, key);
    await issuer.approve({ ...approvals()[1], label: 'node-1' });
    const stolen = { ...REQUEST, agentId: '22222222-7e0a-4b6a-9a55-0f6a3c1c2d11' };
    const theirKey = await other.host.createAgentKey();
    await expect(other.issue(issuer.connect(), stolen, theirKey)).rejects.toThrow(/"code":"name_in_use"/);
  });

  it.each([
    ['outside its patterns', { name: 'admin' }],
    ['of a sub-agent', { name: 'pay-1+child' }],
    ['for longer than approved', { ttlSeconds: 86_400 }],
  ])('check 27: a host gets no credentials %s', async (_what, change) => {
    const answer = await host.signed(connection, ISSUE_CHALLENGE_PATH, {
      akId: host.akId,
      req: { ...REQUEST, ...change },
    });
    expect(answer).toMatchObject({ status: 403, code: 'name_not_permitted' });
  });

  it('check 7: an approval that is withdrawn ends everything at once', async () => {
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const m7 = await host.m7(opened, REQUEST, key, connection.exporter());
    await issuer.approve(approvals()[1]);
    expect((await host.signed(connection, ISSUE_PATH, m7)).code).toBe('host_not_approved');
    expect((await connection.post(ENROL_PATH, json(host.m1()))).code).toBe('host_not_approved');
  });

  it('a token that nobody registered vouches for no key', async () => {
    const opened = await host.challengeForIssuance(connection, REQUEST);
    const { csr } = await host.m7(opened, REQUEST, key, connection.exporter());
    const jwk = { kty: 'EC', crv: 'P-256', x: 'A'.repeat(43), y: 'A'.repeat(43), alg: 'ES256' };
    const token = { manufacturer: 'SoftHSM project', model: 'SoftHSM v2', serial: 'deadbeef' };
    const answer = await host.signed(connection, ISSUE_PATH, {
      session: opened.session,
      tokenKey: { jwk, token },
      csr,
    });
    expect(answer.status).toBe(403);
  });
});

describe('re-attestation that fails', () => {
  it('ends the standing: no new credentials until one succeeds', async () => {
    const { session } = await host.challengeForReattestation(connection);
    const quote = await host.host.quote(host.ak, ATTESTED_PCRS, randomBytes(32));
    expect((await host.signed(connection, EVIDENCE_PATH, { session, quote })).code).toBe('evidence_invalid');
    const refused = await host.signed(connection, ISSUE_CHALLENGE_PATH, { akId: host.akId, req: REQUEST });
    expect(refused).toMatchObject({ status: 403, code: 'appraisal_denied' });
    await host.reattest(connection);
    expect((await host.issue(connection, REQUEST, key)).assurance).toBe('software');
  });

  it('evidence that newer evidence has overtaken is judged by its own challenge, not refused as a rollback', async () => {
    const { session, challenge } = await host.challengeForReattestation(connection);
    const bound = reattestationBound(host.akId, session);
    const extraData = attestedData('reattest', challenge, bound, connection.exporter());
    const quote = await host.host.quote(host.ak, ATTESTED_PCRS, extraData);
    await host.issue(connection, REQUEST, key);
    expect((await host.signed(connection, EVIDENCE_PATH, { session, quote })).status).toBe(200);
  });
});

describe('S20: denial of service', () => {
  it('S20: one host’s challenges never push out another’s', async () => {
    const m1 = host.m1();
    const m2 = parse(enrolChallenge, expectOk(await connection.post(ENROL_PATH, json(m1))));
    const issuing = await host.challengeForIssuance(connection, REQUEST);
    const flood = issuer.connect();
    const answers = new Set<number>();
    for (let attempt = 0; attempt < 40; attempt += 1) {
      answers.add((await flood.post(ENROL_PATH, json(other.m1()))).status);
    }
    expect([...answers]).toEqual([200]);
    const m3 = await host.m3(m1, m2, connection.exporter());
    expect((await connection.post(EVIDENCE_PATH, json(m3))).status).toBe(200);
    const m7 = await host.m7(issuing, REQUEST, key, connection.exporter());
    expect((await host.signed(connection, ISSUE_PATH, m7)).status).toBe(200);
  });

  it('S20: of one host’s own challenges the oldest give way', async () => {
    const first = parse(enrolChallenge, expectOk(await connection.post(ENROL_PATH, json(host.m1()))));
    for (let attempt = 0; attempt < 4; attempt += 1) {
      expectOk(await connection.post(ENROL_PATH, json(host.m1())));
    }
    const m3 = await host.m3(host.m1(), first, connection.exporter());
    expect((await connection.post(EVIDENCE_PATH, json(m3))).code).toBe('session_unknown');
  });

  it('S20: a host that signs too often is told when to come back, and another is not touched', async () => {
    const limited = await IssuerFixture.start({
      ca: host.host.tpm,
      change: (config) => ({ ...config, limits: { ...config.limits, requestsPerHostPerMinute: 3 } }),
    });
    try {
      await limited.approve(...approvals());
      const line = limited.connect();
      const theirs = limited.connect();
      await host.enrol(line);
      await other.enrol(theirs);
      const ask = (who: ProtocolHost, on: IssuerConnection) =>
        who.signed(on, REATTEST_CHALLENGE_PATH, { akId: who.akId });
      for (let attempt = 0; attempt < 3; attempt += 1) expect((await ask(host, line)).status).toBe(200);
      const refused = await ask(host, line);
      expect(refused).toMatchObject({ status: 429, code: 'too_many_requests' });
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
      expect((await ask(other, theirs)).status).toBe(200);
    } finally {
      await limited.stop();
    }
  });
});

describe('S9: proxied is configuration, never a consequence', () => {
  it('S9: where it is configured, the challenge says so and zeros are bound; an exporter then proves nothing', async () => {
    const proxied = await IssuerFixture.start({
      ca: host.host.tpm,
      change: (config) => ({ ...config, channelBinding: 'proxied' }),
    });
    try {
      await proxied.approve(...approvals());
      const line = proxied.connect();
      const m1 = host.m1();
      const open = async () => parse(enrolChallenge, expectOk(await line.post(ENROL_PATH, json(m1))));
      const bound = await open();
      expect(decodeJwt(bound.challenge)).toMatchObject({ channel: 'proxied' });
      const wrong = await line.post(EVIDENCE_PATH, json(await host.m3(m1, bound, line.exporter())));
      expect(wrong).toMatchObject({ status: 403, code: 'evidence_invalid' });
      const right = await line.post(EVIDENCE_PATH, json(await host.m3(m1, await open(), undefined)));
      expect(right.status).toBe(200);
    } finally {
      await proxied.stop();
    }
  });
});
