/** Status lists of a real issuer: a host asks for indices and revokes, jose and agentkeyd/verify read the lists. */
import { inflateSync } from 'node:zlib';
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StatusLists } from '../../../src/verify/status-lists.ts';
import { trustedKey } from '../../../src/verify/trusted-keys.ts';
import { JWKS_PATHS } from '../../../src/wire/issuance/metadata.ts';
import {
  STATUS_INDICES_PATH,
  STATUS_REVOCATIONS_PATH,
  type StatusReference,
} from '../../../src/wire/issuance/status.ts';
import { AttestedHost } from '../../support/attested-host.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import type { IssuerAnswer, IssuerConnection } from '../../support/issuer-connection.ts';
import { ISSUER_URL, IssuerFixture } from '../../support/issuer-fixture.ts';
import { expectOk, json, ProtocolHost } from '../../support/protocol-host.ts';

let tpm: AttestedHost;
let issuer: IssuerFixture;
let host: ProtocolHost;
let connection: IssuerConnection;
const cleanUp: (() => Promise<void>)[] = [];

beforeAll(async () => {
  tpm = await AttestedHost.start();
  cleanUp.push(() => tpm.stop());
  issuer = await IssuerFixture.start({ ca: tpm.tpm });
  cleanUp.push(() => issuer.stop());
  host = await ProtocolHost.create(tpm);
  const { ekSha256 } = host;
  await issuer.approve({ label: 'node-1', ekSha256, namePatterns: ['*'], principal: 'ops@example.test' });
  connection = issuer.connect();
  await host.enrol(connection);
}, 60_000);
afterAll(async () => {
  for (const step of cleanUp.toReversed()) await step();
});

async function allocate(count: number): Promise<readonly StatusReference[]> {
  const answer = expectOk(await host.signed(connection, STATUS_INDICES_PATH, { count }));
  return (answer as { readonly status: readonly StatusReference[] }).status;
}

const revoke = (status: readonly StatusReference[]): Promise<IssuerAnswer> =>
  host.signed(connection, STATUS_REVOCATIONS_PATH, { status });

async function fetchList(uri: string): Promise<IssuerAnswer> {
  expect(uri.startsWith(`${ISSUER_URL}/`)).toBe(true);
  return connection.get(uri.slice(ISSUER_URL.length));
}

async function bitOf({ idx, uri }: StatusReference): Promise<number> {
  const jwks = (await connection.get(JWKS_PATHS.status)).json as JSONWebKeySet;
  const { payload } = await jwtVerify((await fetchList(uri)).text, createLocalJWKSet(jwks), {
    typ: 'statuslist+jwt',
    subject: uri,
    issuer: issuer.config.issuer,
    requiredClaims: ['iat', 'exp', 'ttl'],
  });
  const { bits, lst } = payload['status_list'] as { readonly bits: number; readonly lst: string };
  expect(bits).toBe(1);
  const octets = inflateSync(Buffer.from(lst, 'base64url'));
  return ((octets[Math.floor(idx / 8)] ?? 0xff) >> (idx % 8)) & 1;
}

describe('S18: a status list', () => {
  it('is served as a token that jose verifies, and has a revoked index as invalid at once', async () => {
    const [kept, gone] = await allocate(2);
    if (kept === undefined || gone === undefined) throw new Error('nothing was given');
    expect(await bitOf(gone)).toBe(0);
    expect(expectOk(await revoke([gone]))).toEqual({ revoked: 1 });
    expect(await bitOf(gone)).toBe(1);
    expect(await bitOf(kept)).toBe(0);
    expect(expectOk(await revoke([gone]))).toEqual({ revoked: 0 });
    const { headers } = await fetchList(gone.uri);
    expect(headers['content-type']).toBe('application/statuslist+jwt');
    expect(headers['cache-control']).toBe('max-age=10');
  });

  it('is what agentkeyd/verify makes of it, under the status key and no other', async () => {
    const [kept, gone] = await allocate(2);
    if (kept === undefined || gone === undefined) throw new Error('nothing was given');
    await revoke([gone]);
    const { keys } = await issuer.metadata();
    const lists = (purpose: 'status' | 'grant'): StatusLists =>
      new StatusLists({
        authorities: [{ prefix: `${ISSUER_URL}/v1/status/`, keys: [trustedKey(keys[purpose])] }],
        fetch: async (uri) => (await fetchList(uri)).text,
        maxStatusAgeSeconds: 60,
      });
    const check = (purpose: 'status' | 'grant', reference: StatusReference) =>
      codeOfAsync(() => lists(purpose).check(reference));
    expect(await check('status', kept)).toBeUndefined();
    expect(await check('status', gone)).toBe('delegation_revoked');
    expect(await check('grant', kept)).toBe('status_unavailable');
  });

  it('keeps its revocations over a restart of the issuer', async () => {
    const [gone] = await allocate(1);
    if (gone === undefined) throw new Error('nothing was given');
    await revoke([gone]);
    await issuer.restart();
    connection = issuer.connect();
    expect(await bitOf(gone)).toBe(1);
  });
});

describe('the requests of hosts', () => {
  it('are refused unsigned, for too many at once, and for what is no index', async () => {
    const unsigned = await connection.post(STATUS_INDICES_PATH, json({ count: 1 }));
    expect(unsigned).toMatchObject({ status: 401, code: 'verification_failed' });
    const [reference] = await allocate(1);
    for (const body of [{ count: 0 }, { count: 101 }, { count: '1' }, {}, { count: 1, list: 1 }]) {
      const answer = await host.signed(connection, STATUS_INDICES_PATH, body);
      expect(answer).toMatchObject({ status: 400, code: 'malformed_request' });
    }
    for (const status of [[], [{ idx: -1, uri: reference?.uri }], [{ idx: 1 }]]) {
      const answer = await host.signed(connection, STATUS_REVOCATIONS_PATH, { status });
      expect(answer).toMatchObject({ status: 400, code: 'malformed_request' });
    }
    expect(await revoke([{ idx: 1, uri: 'https://other.example/v1/status/1' }])).toMatchObject({
      status: 403,
      code: 'policy_denied',
    });
  });

  it('S4: are not taken a second time', async () => {
    const nonce = 'n'.repeat(22);
    const first = await host.signed(connection, STATUS_INDICES_PATH, { count: 1 }, { nonce });
    expect(first.status).toBe(200);
    const again = await host.signed(connection, STATUS_INDICES_PATH, { count: 1 }, { nonce });
    expect(again).toMatchObject({ status: 401, code: 'replayed' });
  });

  it('have paths of one spelling and method', async () => {
    expect(await connection.get(STATUS_INDICES_PATH)).toMatchObject({ status: 405 });
    for (const path of ['/v1/status/99', '/v1/status/01', '/v1/status/0', '/v1/status/x', '/v1/status/1/']) {
      expect(await connection.get(path)).toMatchObject({ status: 404, code: 'not_found' });
    }
  });
});
