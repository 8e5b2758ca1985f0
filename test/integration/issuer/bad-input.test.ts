/** Whatever comes in is answered with a 4xx problem, changes nothing, and the next request is served. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ENROL_PATH, EVIDENCE_PATH } from '../../../src/wire/issuance/enrolment.ts';
import { ISSUE_CHALLENGE_PATH, ISSUE_PATH } from '../../../src/wire/issuance/issue.ts';
import {
  AAUTH_METADATA_PATH,
  JWKS_PATHS,
  METADATA_PATH,
  X509_BUNDLE_PATH,
} from '../../../src/wire/issuance/metadata.ts';
import { REATTEST_CHALLENGE_PATH } from '../../../src/wire/issuance/reattestation.ts';
import type { IssuerAnswer, IssuerConnection } from '../../support/issuer-connection.ts';
import { IssuerFixture } from '../../support/issuer-fixture.ts';

let issuer: IssuerFixture;
let connection: IssuerConnection;

beforeAll(async () => {
  issuer = await IssuerFixture.start({
    change: (config) => ({
      ...config,
      limits: { ...config.limits, enrolmentsPerNetworkPerMinute: 100_000, bodySeconds: 1 },
    }),
  });
  connection = issuer.connect();
});
afterAll(() => issuer.stop());

const b64 = (octets: number): string => Buffer.alloc(octets, 7).toString('base64url');
const quote = { attest: b64(100), sig: b64(72), pcrs: [b64(32)] };
const certified = { public: b64(90), certify: { attest: b64(100), sig: b64(72) } };
const session = 'A'.repeat(43);
const akId = `000b${'0'.repeat(64)}`;

/** A well-formed body for every endpoint; nobody has made what is in it. */
const BODIES: Readonly<Record<string, object>> = {
  [ENROL_PATH]: {
    v: 1,
    ek: { template: 'L-2', public: b64(120), cert: b64(600), chain: [] },
    ak: { public: b64(90) },
    tpmInfo: 'a TPM',
  },
  [EVIDENCE_PATH]: { session, proof: b64(32), quote, hostKey: certified, auditKey: certified },
  [REATTEST_CHALLENGE_PATH]: { akId },
  [ISSUE_CHALLENGE_PATH]: {
    akId,
    req: {
      agentId: '0b4b4c5e-7e0a-4b6a-9a55-0f6a3c1c2d11',
      name: 'pay-1',
      creds: ['x509'],
      ttlSeconds: 600,
    },
  },
  [ISSUE_PATH]: { session, tpmKey: certified, csr: b64(200) },
};
const PATHS = Object.keys(BODIES);

/** A problem document that names the fault and nothing of ours. */
function expectRefusal(answer: IssuerAnswer): void {
  expect(answer.status, answer.text).toBeGreaterThanOrEqual(400);
  expect(answer.status, answer.text).toBeLessThan(500);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.json).toMatchObject({
    status: answer.status,
    type: `urn:agentkeyd:problem:${answer.code ?? ''}`,
  });
  expect(answer.text).not.toMatch(/node_modules|\/tmp\/|at .*\.ts:/);
}

async function serves(): Promise<boolean> {
  return (await connection.get('/healthz')).status === 200;
}

/** The whole state, as it lies on disk: database and write-ahead log. */
function stateOctets(): string {
  const file = join(issuer.config.stateDirectory, 'issuer.db-wal');
  return readFileSync(file).toString('base64');
}

describe.each(PATHS)('POST %s', (path) => {
  const body = JSON.stringify(BODIES[path]);
  let before: string;
  beforeAll(() => {
    before = stateOctets();
  });
  afterEach(async () => {
    expect(await serves()).toBe(true);
    // Sessions that are taken are deleted, also where they never were: SQLite writes nothing then.
    expect(stateOctets()).toBe(before);
  });

  it('refuses a well-formed body that nobody vouches for', async () => {
    expectRefusal(await connection.post(path, body));
  });

  it('refuses every truncation', async () => {
    // A body of some hundred octets is cut at each of them; a longer one at every seventh.
    const step = body.length > 400 ? 7 : 1;
    for (let length = 0; length < body.length; length += step) {
      const answer = await connection.post(path, body.slice(0, length));
      expectRefusal(answer);
      expect(answer.code).toBe('malformed_json');
    }
  });

  it('refuses what follows the body, members given twice, and members nobody knows', async () => {
    for (const [spoilt, code] of [
      [`${body}x`, 'malformed_json'],
      [`${body}${body}`, 'malformed_json'],
      [`\uFEFF${body}`, 'malformed_json'],
      [body.replace('{', '{"akId":"0","akId":"0",'), 'malformed_json'],
      [body.replace('{', '{"\\u0061kId":"0","akId":"0",'), 'malformed_json'],
      [body.replace('{', '{"more":true,'), 'malformed_request'],
      [body.replace('{', '{"__proto__":{},'), 'malformed_request'],
      ['[]', 'malformed_request'],
      ['null', 'malformed_request'],
      ['"text"', 'malformed_request'],
      ['1e999', 'malformed_json'],
      ['['.repeat(1000), 'malformed_json'],
    ] as const) {
      const answer = await connection.post(path, spoilt);
      expectRefusal(answer);
      expect(answer.code, spoilt.slice(0, 60)).toBe(code);
    }
    expectRefusal(await connection.post(path, Buffer.from([0x7b, 0xff, 0xfe, 0x7d])));
  });

  it('refuses another content type, an encoding, and a body that is too large', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/json; charset=latin1',
    ]) {
      const answer = await connection.post(path, body, { 'content-type': type });
      expectRefusal(answer);
      expect(answer.code).toBe('unsupported_media_type');
    }
    expect((await connection.post(path, body, { 'content-encoding': 'gzip' })).code).toBe(
      'unsupported_media_type',
    );
    const large = await issuer.connect().post(path, Buffer.alloc(256 * 1024 + 1, 0x20));
    expect(large).toMatchObject({ status: 413, code: 'body_too_large' });
  });

  it('refuses a body that grows too large without saying so', async () => {
    const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`;
    const answer = await connection.raw(
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(6)}`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('refuses other methods and says which it takes', async () => {
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const answer = await connection.send(method, path, {}, undefined);
      expectRefusal(answer);
      expect(answer).toMatchObject({ status: 405, code: 'method_not_allowed' });
      expect(answer.headers['allow']).toBe('POST');
    }
  });

  it('property: whatever JSON comes, it is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.json({ maxDepth: 4 }), async (text) => {
        expectRefusal(await connection.post(path, text));
      }),
      { numRuns: 60 },
    );
  });

  it('property: whatever one member is replaced with, it is refused', async () => {
    const paths = leaves(BODIES[path] ?? {});
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue({ maxDepth: 2 }), async (at, value) => {
        expectRefusal(await connection.post(path, JSON.stringify(replaced(BODIES[path] ?? {}, at, value))));
      }),
      { numRuns: 80 },
    );
  });

  it('property: whatever octets come, they are refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (octets) => {
        expectRefusal(await connection.post(path, octets));
      }),
      { numRuns: 60 },
    );
  });

  it('property: whatever signature fields come, they are refused', async () => {
    const value = fc
      .string({ unit: 'grapheme-ascii', maxLength: 200 })
      .map((text) => text.replace(/[^\x20-\x7e]/g, ''));
    await fc.assert(
      fc.asyncProperty(value, value, value, async (input, signature, digest) => {
        const answer = await connection.post(path, body, {
          'signature-input': input,
          signature,
          'content-digest': digest,
        });
        expectRefusal(answer);
      }),
      { numRuns: 60 },
    );
  });
});

describe('what is no request of ours', () => {
  it.each([
    ['no HTTP at all', 'hello\r\n\r\n', 400, 'malformed_request'],
    [
      'a header that never ends',
      `GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`,
      431,
      'header_too_large',
    ],
    [
      'two lengths',
      'POST /v1/issue HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
      400,
      'malformed_request',
    ],
    [
      'length and chunks',
      'POST /v1/issue HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
      'malformed_request',
    ],
    ['a space before the colon', 'GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n', 400, 'malformed_request'],
    [
      'an absolute target',
      'GET https://evil.example/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      400,
      'malformed_request',
    ],
    [
      'a query',
      'GET /healthz?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      400,
      'malformed_request',
    ],
    [
      'an encoded path',
      'GET /%68ealthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      400,
      'malformed_request',
    ],
    ['another case', 'GET /HEALTHZ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', 404, 'not_found'],
    ['a trailing slash', 'GET /healthz/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', 404, 'not_found'],
  ])('answers %s with a problem', async (_what, octets, status, code) => {
    const answer = await connection.raw(octets);
    expect(answer).toContain(`HTTP/1.1 ${status} `);
    expect(answer).toContain('application/problem+json');
    expect(answer).toContain(`"code":"${code}"`);
    expect(await serves()).toBe(true);
  });

  it('a request cut off at any octet is dropped or refused, and the next is served', async () => {
    const request = `POST ${ISSUE_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`;
    const cuts = Array.from({ length: Math.floor(request.length / 9) }, (_, index) => index * 9 + 1);
    const answers = await Promise.all(
      cuts.map((at) => connection.raw(request.slice(0, at), { waitMs: 300 })),
    );
    for (const answer of answers) expect(answer).not.toMatch(/^HTTP\/1\.1 [25]/);
    expect(await serves()).toBe(true);
  });

  it('S20: a slow body is refused in time, while others are served', async () => {
    const slow = connection.raw(
      `POST ${ENROL_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
    );
    expect(await serves()).toBe(true);
    const answer = await slow;
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('"code":"request_timeout"');
  });

  it('S9: an older TLS than 1.3 is refused', async () => {
    const { connect } = await import('node:tls');
    const outcome = await new Promise<string>((resolve) => {
      const socket = connect({
        host: '127.0.0.1',
        port: issuer.port,
        ca: issuer.tlsCa,
        servername: 'localhost',
        maxVersion: 'TLSv1.2',
      });
      socket.on('secureConnect', () => {
        resolve('connected');
        socket.destroy();
      });
      socket.on('error', () => {
        resolve('refused');
      });
    });
    expect(outcome).toBe('refused');
    expect(await serves()).toBe(true);
  });
});

describe('what is published', () => {
  it.each([
    METADATA_PATH,
    AAUTH_METADATA_PATH,
    X509_BUNDLE_PATH,
    ...Object.values(JWKS_PATHS),
    '/healthz',
    '/readyz',
  ])('GET %s answers, and takes no other method', async (path) => {
    expect((await connection.get(path)).status).toBe(200);
    const answer = await connection.post(path, '{}');
    expect(answer).toMatchObject({ status: 405, code: 'method_not_allowed' });
    expect(answer.headers['allow']).toBe('GET');
  });

  it('S14: every published key has alg, kid and its own purpose, and none is private', async () => {
    const seen = new Set<string>();
    for (const path of Object.values(JWKS_PATHS)) {
      const { keys } = (await connection.get(path)).json as { keys: Record<string, string>[] };
      expect(keys).toHaveLength(1);
      for (const key of keys) {
        expect(key).toMatchObject({ use: 'sig' });
        expect(key['alg']).toMatch(/^(ES256|Ed25519)$/);
        expect(key).not.toHaveProperty('d');
        seen.add(key['kid'] ?? '');
      }
    }
    expect(seen.size).toBe(Object.keys(JWKS_PATHS).length);
  });
});

type Path = readonly (string | number)[];

function leaves(value: unknown, at: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [at];
  const entries: [string | number, unknown][] = Array.isArray(value)
    ? value.map((item: unknown, index): [number, unknown] => [index, item])
    : Object.entries(value);
  return [at, ...entries.flatMap(([key, member]) => leaves(member, [...at, key]))];
}

function replaced(value: unknown, at: Path, by: unknown): unknown {
  const [key, ...rest] = at;
  if (key === undefined) return by;
  if (Array.isArray(value)) {
    return value.map((item: unknown, index) => (index === key ? replaced(item, rest, by) : item));
  }
  return Object.fromEntries(
    Object.entries(value as object).map(([name, member]) => [
      name,
      name === key ? replaced(member, rest, by) : member,
    ]),
  );
}

describe('S20: connections', () => {
  it('S20: one network can not take them all, and gets them back when they end', async () => {
    const limited = await IssuerFixture.start({
      change: (config) => ({ ...config, limits: { ...config.limits, connectionsPerNetwork: 2 } }),
    });
    try {
      const [one, two, three] = [limited.connect(), limited.connect(), limited.connect()];
      expect((await one.get('/healthz')).status).toBe(200);
      expect((await two.get('/healthz')).status).toBe(200);
      await expect(three.get('/healthz')).rejects.toThrow();
      expect((await one.get('/healthz')).status).toBe(200);
      two.close();
      await expect
        .poll(() =>
          three.get('/healthz').then(
            ({ status }) => status,
            () => 0,
          ),
        )
        .toBe(200);
    } finally {
      await limited.stop();
    }
  });
});
