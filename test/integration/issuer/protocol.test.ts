/** Messages A, B and C by a real TPM against a real issuer, and what comes out, read by tools of others. */
import { execFile } from 'node:child_process';
import { randomUUID, X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify, type JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ISSUE_PATH,
  type CredentialRequest,
  type IssuedCredentials,
} from '../../../src/wire/issuance/issue.ts';
import { ENROL_PATH, type Standing } from '../../../src/wire/issuance/enrolment.ts';
import { JWKS_PATHS, X509_BUNDLE_PATH } from '../../../src/wire/issuance/metadata.ts';
import { jwkThumbprint, parsePublicJwk } from '../../../src/wire/jwk.ts';
import { AttestedHost, type HostKey } from '../../support/attested-host.ts';
import { ecKeyPair, makeSoftwareCsr, type KeyPair } from '../../support/certificates.ts';
import type { IssuerAnswer, IssuerConnection } from '../../support/issuer-connection.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';
import { json, jwkOf, ProtocolHost } from '../../support/protocol-host.ts';

const run = promisify(execFile);
const REQUEST: CredentialRequest = {
  agentId: '0b4b4c5e-7e0a-4b6a-9a55-0f6a3c1c2d11',
  name: 'pay-1',
  creds: ['x509', 'wit', 'aauth'],
  ttlSeconds: 1800,
};

let tpm: AttestedHost;
let issuer: IssuerFixture;
let host: ProtocolHost;
let connection: IssuerConnection;
let enrolled: Standing;
const cleanUp: (() => Promise<void>)[] = [];

beforeAll(async () => {
  tpm = await AttestedHost.start();
  cleanUp.push(() => tpm.stop());
  issuer = await IssuerFixture.start({ ca: tpm.tpm });
  cleanUp.push(() => issuer.stop());
  host = await ProtocolHost.create(tpm);
  await issuer.approve({
    label: 'node-1',
    ekSha256: host.ekSha256,
    namePatterns: ['pay-*'],
    principal: 'ops@example.test',
  });
  connection = issuer.connect();
  enrolled = await host.enrol(connection);
});
afterAll(async () => {
  for (const step of cleanUp.toReversed()) await step();
});

async function jwks(purpose: keyof typeof JWKS_PATHS): Promise<JSONWebKeySet> {
  return (await connection.get(JWKS_PATHS[purpose])).json as JSONWebKeySet;
}

describe('enrolment', () => {
  it('gives a standing that names the host and the development policy', () => {
    expect(enrolled).toMatchObject({
      akId: host.akId,
      assurance: 'software',
      developmentPolicy: 'sandbox',
      host: { label: 'node-1', trustDomain: 'sandbox.test', namePatterns: ['pay-*'] },
    });
    expect(enrolled.reattestAtSeconds).toBeLessThan(enrolled.expiresAtSeconds);
  });

  it('refuses an enrolment token, because it has no groups that one could select', async () => {
    const answer = await issuer.connect().post(ENROL_PATH, json({ ...host.m1(), enrolmentToken: 'group-a' }));
    expect(answer.status).toBe(403);
    expect(answer.json).toMatchObject({ code: 'host_not_approved' });
  });

  it('gives an EAR that jose verifies under the EAR key, contraindicated for a test root', async () => {
    const { payload, protectedHeader } = await jwtVerify(enrolled.ear, createLocalJWKSet(await jwks('ear')), {
      issuer: issuer.config.issuer,
      typ: 'eat+jwt',
    });
    expect(protectedHeader.alg).toBe('ES256');
    expect(payload).toMatchObject({
      eat_profile: 'tag:ietf.org,2026:rats/ear#04',
      ear_status: 'contraindicated',
      exp: enrolled.expiresAtSeconds,
    });
  });
});

describe('re-attestation', () => {
  it('renews the standing with a fresh EAR', async () => {
    const renewed = await host.reattest(connection);
    expect(renewed.expiresAtSeconds).toBeGreaterThanOrEqual(enrolled.expiresAtSeconds);
    expect(renewed.ear).not.toBe(enrolled.ear);
  });
});

describe('issuance', () => {
  let key: HostKey;
  let issued: IssuedCredentials;

  beforeAll(async () => {
    key = await tpm.createAgentKey();
    issued = await host.issue(connection, REQUEST, key);
  });

  it('names the agent, says what vouches for it, and renews at two thirds', () => {
    expect(issued).toMatchObject({
      spiffeId: 'spiffe://sandbox.test/agent/node-1/pay-1',
      aauthId: 'aauth:node-1.pay-1@sandbox.test',
      assurance: 'software',
      developmentPolicy: 'sandbox',
    });
    const issuedAt = issued.expiresAtSeconds - REQUEST.ttlSeconds;
    expect(issued.renewAtSeconds - issuedAt).toBe(1200);
  });

  it('issues a certificate that openssl verifies under the published bundle', async () => {
    const bundle = (await connection.get(X509_BUNDLE_PATH)).text;
    const leafFile = join(tpm.tpm.dir, 'leaf.pem');
    const bundleFile = join(tpm.tpm.dir, 'bundle.pem');
    await writeFile(leafFile, issued.x509?.[0] ?? '');
    await writeFile(bundleFile, bundle);
    const verify = (...more: readonly string[]) =>
      run('openssl', ['verify', '-x509_strict', '-CAfile', bundleFile, ...more, leafFile]);
    expect((await verify('-purpose', 'sslserver')).stdout).toContain('OK');
    expect((await verify('-purpose', 'sslclient')).stdout).toContain('OK');
    const { stdout } = await run('openssl', ['x509', '-in', leafFile, '-noout', '-text']);
    expect(stdout).toMatch(
      /Subject Alternative Name: critical\s+URI:spiffe:\/\/sandbox\.test\/agent\/node-1\/pay-1\n/,
    );
    expect(stdout).toMatch(/Key Usage: critical\s+Digital Signature\n/);
    expect(stdout).toMatch(/TLS Web Server Authentication, TLS Web Client Authentication/);
    expect(stdout).toMatch(/Subject: *\n/);
    const certificate = new X509Certificate(issued.x509?.[0] ?? '');
    expect(parsePublicJwk({ ...certificate.publicKey.export({ format: 'jwk' }), alg: 'ES256' })).toEqual(
      jwkOf(key),
    );
    expect(Date.parse(certificate.validTo) / 1000).toBe(issued.expiresAtSeconds);
  });

  it('issues a WIT that jose verifies, bound to the key, without an audience', async () => {
    const { payload } = await jwtVerify(issued.wit ?? '', createLocalJWKSet(await jwks('wit')), {
      issuer: issuer.config.issuer,
      subject: issued.spiffeId,
      typ: 'wit+jwt',
    });
    expect(payload.aud).toBeUndefined();
    expect(payload['cnf']).toEqual({ jwk: jwkOf(key) });
    expect(payload['urn:agentkeyd:attestation']).toMatchObject({
      level: 'software',
      akId: host.akId,
      developmentPolicy: 'sandbox',
      policy: 'urn:agentkeyd:appraisal:1',
    });
  });

  it('issues an AAuth agent token signed with Ed25519, its key found through dwk and jwks_uri', async () => {
    const metadata = (await connection.get('/.well-known/aauth-agent.json')).json as { jwks_uri: string };
    const keys = (await connection.get(new URL(metadata.jwks_uri).pathname)).json as JSONWebKeySet;
    expect(decodeProtectedHeader(issued.agentToken ?? '')).toMatchObject({
      alg: 'Ed25519',
      typ: 'aa-agent+jwt',
    });
    const { payload } = await jwtVerify(issued.agentToken ?? '', createLocalJWKSet(keys), {
      issuer: issuer.config.issuer,
      subject: 'aauth:node-1.pay-1@sandbox.test',
    });
    expect(payload).toMatchObject({ dwk: 'aauth-agent.json', cnf: { jwk: jwkOf(key) } });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBeLessThanOrEqual(3600);
  });

  it('says in the EAR which key it is about', async () => {
    const { payload } = await jwtVerify(issued.ear, createLocalJWKSet(await jwks('ear')));
    expect(payload['cnf']).toEqual({ jkt: jwkThumbprint(jwkOf(key)) });
  });

  it('renews for the same agent, also with a new key, and refuses the name to another agent', async () => {
    const again = await host.issue(connection, REQUEST, await tpm.createAgentKey());
    expect(again.spiffeId).toBe(issued.spiffeId);
    const other = { ...REQUEST, agentId: 'ffffffff-7e0a-4b6a-9a55-0f6a3c1c2d11' };
    await expect(host.issue(connection, other, key)).rejects.toThrow(/"code":"name_in_use"/);
  });

  it('never outlives the standing', async () => {
    const standingEnds = (await host.reattest(connection)).expiresAtSeconds;
    issuer.clockOffsetMs = 3000_000;
    try {
      const created = Math.floor(Date.now() / 1000) + 3000;
      const opened = await host.signed(
        connection,
        '/v1/issue/challenge',
        { akId: host.akId, req: REQUEST },
        { created },
      );
      expect(opened.json).toMatchObject({ quote: 'required' });
      const m7 = await host.m7(opened.json as never, REQUEST, key, connection.exporter());
      const answer = await host.signed(connection, '/v1/issue', m7, { created });
      expect(answer.json).toMatchObject({ expiresAtSeconds: standingEnds });
    } finally {
      issuer.clockOffsetMs = 0;
    }
  });
});

describe('issuance for a key in a PKCS#11 token', () => {
  const softhsm = { manufacturer: 'SoftHSM project', model: 'SoftHSM v2', serial: 'f00dfeed' };
  const registered = { manufacturer: 'Acme', model: 'Vault 9', serial: '0001' };
  const request = (name: string): CredentialRequest => ({
    agentId: randomUUID(),
    name,
    creds: ['x509', 'wit'],
    ttlSeconds: 600,
  });

  beforeAll(async () => {
    await issuer.approve({
      label: 'node-1',
      ekSha256: host.ekSha256,
      namePatterns: ['pay-*'],
      principal: 'ops@example.test',
      tokens: [softhsm, registered],
    });
  });

  async function issueFor(
    token: typeof softhsm,
    name: string,
    spoil: (keys: KeyPair) => KeyPair = (keys) => keys,
  ): Promise<IssuerAnswer> {
    const keys = ecKeyPair();
    const jwk = parsePublicJwk({ ...keys.publicKey.export({ format: 'jwk' }), alg: 'ES256' });
    const opened = await host.challengeForIssuance(connection, request(name));
    const csr = makeSoftwareCsr(spoil(keys));
    return host.signed(connection, ISSUE_PATH, { session: opened.session, tokenKey: { jwk, token }, csr });
  }

  it('is issued where an operator registered the token, and no stronger than the host that names it', async () => {
    const answer = await issueFor(registered, 'pay-registered');
    expect(answer.json).toMatchObject({ assurance: 'software', developmentPolicy: 'sandbox' });
  });

  it('is software for SoftHSM, whatever was registered', async () => {
    const answer = await issueFor(softhsm, 'pay-softhsm');
    expect(answer.json).toMatchObject({ assurance: 'software', developmentPolicy: 'sandbox' });
  });

  it('is refused for a token that is not registered, one field being enough', async () => {
    const answer = await issueFor({ ...registered, serial: '0002' }, 'pay-stolen');
    expect(answer).toMatchObject({ status: 403, code: 'appraisal_denied' });
  });

  it('is refused without proof of possession of that key', async () => {
    const answer = await issueFor(registered, 'pay-posed', () => ecKeyPair());
    expect(answer).toMatchObject({ status: 403, code: 'evidence_invalid' });
    expect(answer.text).toContain('check 18');
  });
});
