/**
 * Whatever comes in, at every endpoint of a running daemon: a 4xx problem that names the fault, nothing
 * changed, nothing signed, the next request served.
 */
import { Agent } from 'node:http';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { exchangeRaw, type SocketAnswer } from '../support/http-over-socket.ts';
import { answerFaults, described, exampleBody, type Described } from '../support/openapi.ts';
import { makeSofthsm, type TestSofthsm } from '../support/softhsm.ts';

let softhsm: TestSofthsm;
let daemon: TestDaemon;
let before: string;
const keepAlive = new Agent({ keepAlive: true, maxSockets: 4 });

beforeAll(async () => {
  softhsm = await makeSofthsm();
  daemon = await startDaemon({ softhsm, config: { log: { level: 'info' } } });
  await daemon.request('POST', '/v1/agents', { name: 'victim', backend: 'pkcs11' });
  before = await everything();
});

afterAll(async () => {
  keepAlive.destroy();
  await daemon.remove();
  await softhsm.remove();
});

/** All that a request could have changed. */
async function everything(): Promise<string> {
  return (await daemon.request('GET', '/v1/agents')).text;
}

function target({ path }: Described): string {
  return path.replace('{agent}', 'victim').replace('{approval}', '5a8f0c3e-1b2d-4e6f-8a9b-0c1d2e3f4a5b');
}

function isAdmin({ operation }: Described): boolean {
  return !operation['x-agentkeyd-sockets'].includes('shared');
}

async function send(
  entry: Described,
  rawBody: Uint8Array | string | undefined,
  headers: Readonly<Record<string, string>> = {},
): Promise<SocketAnswer> {
  const ask = isAdmin(entry) ? daemon.admin.bind(daemon) : daemon.request.bind(daemon);
  return ask(entry.method, target(entry), undefined, {
    agent: keepAlive,
    headers,
    ...(rawBody === undefined ? {} : { rawBody }),
  });
}

function expectRefused(entry: Described, answer: SocketAnswer): void {
  expect(answer.status, answer.text).toBeGreaterThanOrEqual(400);
  expect(answer.status, answer.text).toBeLessThan(500);
  expect(answerFaults(entry.operation.operationId, answer)).toEqual([]);
  const { detail } = answer.json as { detail?: string };
  expect(detail).toMatch(/\w/);
}

const withBody = described.filter(({ operation }) => operation.requestBody !== undefined);
const cases = withBody.map((entry) => [entry.operation.operationId, entry] as const);

/** The example, or where it is empty something that is at least a whole object. */
function goodText(entry: Described): string {
  return JSON.stringify(exampleBody(entry.operation));
}

test.each(cases)('%s: a body cut off at every offset', async (_id, entry) => {
  const text = goodText(entry);
  for (
    let length = entry.operation.requestBody?.required === true ? 0 : 1;
    length < text.length;
    length += 1
  ) {
    expectRefused(entry, await send(entry, text.slice(0, length)));
  }
  expect(await everything()).toBe(before);
});

test.each(cases)('%s: malformed, surplus, duplicated and mistaken JSON', async (_id, entry) => {
  const text = goodText(entry);
  const member = fc.string({ minLength: 1, maxLength: 12 });
  const surplus = fc.tuple(member, fc.jsonValue()).map(([name, value]) => {
    const given = { ...(exampleBody(entry.operation) as object), [`x${name}`]: value };
    return JSON.stringify(given);
  });
  const malformed = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 200 }).filter((octets) => !isJsonObject(octets)),
    fc
      .jsonValue()
      .filter((value) => typeof value !== 'object' || value === null || Array.isArray(value))
      .map((value) => JSON.stringify(value)),
    surplus,
    fc.constantFrom(
      `${text}}`,
      `${text}${text}`,
      `\uFEFF${text}`,
      `${text}\u0000`,
      text.replace(/^\{/, '{"a":1,"a":2,'),
      text.replace(/^\{/, '{"__proto__":{},'),
      text.replace(/^\{/, '{"constructor":{},'),
      text.replace(/^\{/, '{,'),
      `{"a":"\\ud800"}`,
      `{"a":1e999}`,
      `{"a":3000.0000000000001}`,
      `{"a":-0}`,
      '['.repeat(5_000),
      `{"a":${'['.repeat(100)}${']'.repeat(100)}}`,
      `// ${text}`,
      text.replaceAll('"', "'") === text ? "{'a':1}" : text.replaceAll('"', "'"),
    ),
  );
  await fc.assert(
    fc.asyncProperty(malformed, async (body) => {
      expectRefused(entry, await send(entry, body));
    }),
    { numRuns: 60 },
  );
  expect(await everything()).toBe(before);
});

test.each(cases)('%s: oversized, of another media type, compressed', async (_id, entry) => {
  const text = goodText(entry);
  const large = text.replace(/\}$/, `${' '.repeat(1_600_000)}}`);
  const answer = await send(entry, large);
  expect(answer.status).toBe(413);
  expectRefused(entry, answer);
  for (const headers of [
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/json, application/json' },
    { 'content-type': 'application/json; charset=latin1' },
    { 'content-encoding': 'gzip' },
  ] as Record<string, string>[]) {
    const refused = await send(entry, text, headers);
    expect(refused.status).toBe(415);
    expectRefused(entry, refused);
  }
  expect(await everything()).toBe(before);
});

test.each(described.map((entry) => [entry.operation.operationId, entry] as const))(
  '%s: queries, repeated fields, a wrong method and a request cut off anywhere',
  async (_id, entry) => {
    const path = isAdmin(entry) ? daemon.adminSocketPath : daemon.socketPath;
    const body = entry.operation.requestBody === undefined ? '' : goodText(entry);
    const head = (method: string, where: string, more = ''): string =>
      `${method} ${where} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${more}` +
      (body === '' ? '' : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`);
    const refusals: [string, number][] = [
      [`${head(entry.method, `${target(entry)}?a=1`)}\r\n${body}`, 400],
      [`${head(entry.method, `${target(entry)}?`)}\r\n${body}`, 400],
      [`${head(entry.method, `${target(entry)}/`)}\r\n${body}`, 404],
      [`${head('PATCH', target(entry))}\r\n${body}`, 405],
      [`${head(entry.method, target(entry), 'Host: y\r\n')}\r\n${body}`, 400],
      [
        `${head(entry.method, target(entry), 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n')}\r\n${body}`,
        400,
      ],
      [
        `${head(entry.method, target(entry), 'Idempotency-Key: a\r\nIdempotency-Key: a\r\n')}\r\n${body}`,
        400,
      ],
      [`${head(entry.method, target(entry), 'Idempotency-Key: a b\r\n')}\r\n${body}`, 400],
    ];
    for (const [request, status] of refusals) {
      const answer = await exchangeRaw(path, request);
      expect(answer.slice(0, 12), request).toBe(`HTTP/1.1 ${status}`);
      expect(answer).toContain('application/problem+json');
    }
    // Reading changes nothing, so only what could change something is cut off.
    if (entry.method !== 'GET') {
      const whole = `${head(entry.method, target(entry))}\r\n${body}`;
      const cuts = Array.from({ length: whole.length - 1 }, (_, index) => index + 1);
      for (let index = 0; index < cuts.length; index += 20) {
        await Promise.all(
          cuts.slice(index, index + 20).map(async (length) => {
            const answer = await exchangeRaw(path, whole.slice(0, length), { end: true });
            expect(answer).not.toMatch(/^HTTP\/1\.1 2/);
          }),
        );
      }
    }
    expect(await everything()).toBe(before);
  },
);

test.each(
  described
    .filter(({ path }) => path.includes('{agent}'))
    .map((entry) => [entry.operation.operationId, entry] as const),
)('%s: an agent that is none, or that was retired before', async (_id, entry) => {
  const ask = isAdmin(entry) ? daemon.admin.bind(daemon) : daemon.request.bind(daemon);
  const body = entry.operation.requestBody === undefined ? undefined : exampleBody(entry.operation);
  const segment = fc.oneof(
    fc.string({ minLength: 1, maxLength: 40 }),
    fc.constantFrom(
      '..',
      '.',
      '%00',
      '%2e%2e',
      '%2F',
      'a/b',
      'nobody',
      'victim%00',
      'VICTIM',
      'victim+',
      '__proto__',
      'constructor',
    ),
  );
  await fc.assert(
    fc.asyncProperty(segment, async (text) => {
      // What is percent-encoded already goes as it is; anything else would not be HTTP at all.
      const name = /^(?:%[0-9A-Fa-f]{2})+$/.test(text) ? text : encodeURIComponent(text);
      const answer = await ask(entry.method, entry.path.replace('{agent}', name), body, { agent: keepAlive });
      expect([400, 404, 405], answer.text).toContain(answer.status);
      expect(answer.headers['content-type']).toBe('application/problem+json');
    }),
    { numRuns: 40 },
  );
  expect(await everything()).toBe(before);
});

test('out of order: nothing works on an agent after it was retired, and its name stays taken', async () => {
  const made = await daemon.request('POST', '/v1/agents', { name: 'short', backend: 'pkcs11' });
  const { id } = made.json as { id: string };
  expect((await daemon.request('DELETE', '/v1/agents/short')).status).toBe(204);
  for (const entry of described.filter(({ path }) => path.includes('{agent}') && path !== '')) {
    const ask = isAdmin(entry) ? daemon.admin.bind(daemon) : daemon.request.bind(daemon);
    const body = entry.operation.requestBody === undefined ? undefined : exampleBody(entry.operation);
    const answer = await ask(entry.method, entry.path.replace('{agent}', id), body);
    expect([answer.status, (answer.json as { code: string }).code]).toEqual([404, 'agent_not_found']);
  }
  expect(await everything()).toBe(before);
});

test('in the end it still serves, and nothing internal was told or went wrong', async () => {
  expect((await daemon.request('GET', '/healthz')).status).toBe(200);
  expect(daemon.log()).not.toMatch(/"code":"internal"/);
});

function isJsonObject(octets: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets));
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
