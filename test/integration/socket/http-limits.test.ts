import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { DEFAULT_LIMITS } from '../../../src/socket/limits.ts';
import { route } from '../../../src/socket/route.ts';
import { exchangeRaw, openSocket, requestOverSocket } from '../../support/http-over-socket.ts';
import { calls, code, expectUnharmed, inFlight, logged, start } from '../../support/echo-socket.ts';

test('a well-formed call is identified by the kernel and answered', async () => {
  const path = await start();
  const answer = await requestOverSocket(path, 'POST', '/v1/agents/a%2Bb/echo', { word: 'hi' });
  expect(answer.status).toBe(200);
  expect(answer.json).toEqual({ word: 'hi', agent: 'a+b', uid: process.getuid?.(), count: 1 });
  expect(answer.headers['x-powered-by']).toBeUndefined();
  expect(answer.headers.etag).toBeUndefined();
});

test.each([
  ['an unknown path', 'GET', '/nothing', undefined, 404, 'not_found'],
  ['another letter case', 'GET', '/Healthz', undefined, 404, 'not_found'],
  ['a trailing slash', 'GET', '/healthz/', undefined, 404, 'not_found'],
  ['a query nobody asked for', 'GET', '/healthz?x=1', undefined, 400, 'malformed_request'],
  ['a bad escape', 'POST', '/v1/agents/%zz/echo', { word: 'x' }, 400, 'malformed_request'],
  ['an agent that can be none', 'POST', '/v1/agents/%2e%2e/echo', { word: 'x' }, 400, 'invalid_name'],
  ['an encoded slash', 'POST', '/v1/agents/a%2Fb/echo', { word: 'x' }, 400, 'invalid_name'],
  ['a member too many', 'POST', '/v1/agents/a/echo', { word: 'x', more: 1 }, 400, 'malformed_request'],
  ['a body on GET', 'GET', '/healthz', {}, 400, 'malformed_request'],
])('%s is refused', async (_what, method, target, body, status, expected) => {
  const path = await start();
  const answer = await requestOverSocket(path, method, target, body);
  expect([answer.status, code(answer)]).toEqual([status, expected]);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  await expectUnharmed(path);
});

test('a wrong method names the right ones', async () => {
  const path = await start();
  const answer = await requestOverSocket(path, 'DELETE', '/healthz');
  expect([answer.status, code(answer), answer.headers.allow]).toEqual([
    405,
    'method_not_allowed',
    'GET, HEAD',
  ]);
  for (const method of ['OPTIONS', 'TRACE', 'PATCH', 'PUT']) {
    expect((await requestOverSocket(path, method, '/v1/agents/a/echo')).status).toBe(405);
  }
  expect(await exchangeRaw(path, 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n')).toMatch(/^HTTP\/1\.1 405 /);
  await expectUnharmed(path);
});

test.each([
  ['no media type', {}],
  ['a form', { 'content-type': 'application/x-www-form-urlencoded' }],
  ['another charset', { 'content-type': 'application/json; charset=utf-16' }],
  ['compressed content', { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
])('%s is 415', async (_what, headers) => {
  const path = await start();
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const body = '{"word":"x"}';
  const answer = await exchangeRaw(
    path,
    `POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n${lines.join('')}\r\n${body}`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 415 /);
  expect(answer).toContain('"code":"unsupported_media_type"');
  await expectUnharmed(path);
});

test.each([
  ['content-type', 'Content-Type: application/json\r\nContent-Type: application/json\r\n'],
  ['idempotency-key', 'Content-Type: application/json\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n'],
  [
    'content-encoding',
    'Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\n',
  ],
])('a doubled %s is refused', async (name, lines) => {
  const path = await start();
  const answer = await exchangeRaw(
    path,
    `POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 12\r\n${lines}\r\n{"word":"x"}`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain(`the field ${name} is there twice`);
  await expectUnharmed(path);
});

test.each([
  ['two lengths', 'Content-Length: 12\r\nContent-Length: 13\r\n'],
  ['length and chunks', 'Content-Length: 12\r\nTransfer-Encoding: chunked\r\n'],
  ['a negative length', 'Content-Length: -1\r\n'],
  ['two hosts', 'Host: y\r\n'],
])('%s: 400', async (_what, lines) => {
  const path = await start();
  const answer = await exchangeRaw(
    path,
    `POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n${lines}\r\n{"word":"x"}`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain('application/problem+json');
  await expectUnharmed(path);
});

test.each([
  '\x16\x03\x01\x02\x00\x01',
  'GET\r\n\r\n',
  'GET /healthz HTTP/9.9\r\n\r\n',
  'GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n',
])('octets that are not HTTP/1.1 get a 400 problem: %j', async (octets) => {
  const path = await start();
  const answer = await exchangeRaw(path, octets);
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain('"code":"malformed_request"');
  await expectUnharmed(path);
});

test('a header of more than 32 KiB or 100 fields is 431', async () => {
  const path = await start();
  const big = await exchangeRaw(path, `GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`);
  expect(big).toMatch(/^HTTP\/1\.1 431 /);
  expect(big).toContain('"code":"header_too_large"');
  const fields = Array.from({ length: 100 }, (_, index) => `X-${index}: 1\r\n`).join('');
  const many = await exchangeRaw(
    path,
    `GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${fields}\r\n`,
  );
  expect(many).toMatch(/^HTTP\/1\.1 431 /);
  const enough = Array.from({ length: 98 }, (_, index) => `X-${index}: 1\r\n`).join('');
  const allowed = await exchangeRaw(
    path,
    `GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${enough}\r\n`,
  );
  expect(allowed).toMatch(/^HTTP\/1\.1 200 /);
  await expectUnharmed(path);
});

test('a body of more than 1.5 MiB is 413, announced or not, and the largest one is read', async () => {
  const path = await start();
  const limit = DEFAULT_LIMITS.maxBodyOctets;
  const whole = `{"word":"${'x'.repeat(limit - 11)}"}`;
  const announced = await requestOverSocket(path, 'POST', '/v1/agents/a/echo', undefined, {
    rawBody: `${whole} `,
  });
  expect([announced.status, code(announced)]).toEqual([413, 'body_too_large']);
  const chunk = 'x'.repeat(64 * 1024);
  const chunks = Array.from({ length: 25 }, () => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
  const chunked = await exchangeRaw(
    path,
    `POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
  );
  expect(chunked).toMatch(/^HTTP\/1\.1 413 /);
  await expectUnharmed(path);
  const largest = await requestOverSocket(path, 'POST', '/v1/agents/a/echo', undefined, { rawBody: whole });
  expect(largest.status).toBe(200);
});

test('a body is read the same, whether it comes with its header, after it or in pieces, on one connection', async () => {
  const { share } = DEFAULT_LIMITS;
  // Two bodies at most: what one request does not give back, the third has not.
  const path = await start({ limits: { maxBodyOctets: 100, share: { ...share, maxOctets: 200 } } });
  const socket = await openSocket(path);
  let received = '';
  socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
  const answered = async (...pieces: readonly string[]): Promise<string> => {
    received = '';
    for (const piece of pieces) {
      socket.write(piece);
      await delay(20);
    }
    await vi.waitFor(() => {
      expect(received).toMatch(/\}$/);
    });
    return /^HTTP\/1\.1 (\d+) /.exec(received)?.[1] ?? '';
  };
  const head = (framing: string): string =>
    `POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${framing}\r\n\r\n`;
  const chunked = head('Transfer-Encoding: chunked');
  const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
  const body = `{"word":"${'w'.repeat(80)}"}`;
  const known = head(`Content-Length: ${body.length}`);
  for (let round = 0; round < 3; round += 1) {
    expect(await answered(known + body)).toBe('200');
    expect(await answered(known, body)).toBe('200');
    expect(await answered(known + body.slice(0, 5), body.slice(5, 9), body.slice(9))).toBe('200');
    expect(await answered(`${chunked}${chunk(body)}0\r\n\r\n`)).toBe('200');
    expect(await answered(`${chunked}${chunk(body.slice(0, 5))}${chunk(body.slice(5))}0\r\n\r\n`)).toBe(
      '200',
    );
    expect(await answered(chunked, chunk(body), '0\r\n\r\n')).toBe('200');
    // No content at all, though the header announces some.
    expect(await answered(`${chunked}0\r\n\r\n`)).toBe('400');
    expect(await answered(`${chunked}${chunk(body)}${chunk(' '.repeat(11))}0\r\n\r\n`)).toBe('413');
  }
  expect(calls).toEqual(Array.from({ length: 18 }, () => ({ word: 'w'.repeat(80) })));
  await vi.waitFor(async () => {
    expect(await inFlight()).toBe(0);
  });
  socket.destroy();
});

test('a slow header, a slow body and a silent connection are 408 and closed', async () => {
  const path = await start({ limits: { headersTimeoutMs: 600, requestTimeoutMs: 1_200 } });
  const slow = [
    exchangeRaw(path, 'POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\n'),
    exchangeRaw(
      path,
      'POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"word"',
    ),
    exchangeRaw(path, ''),
  ];
  for (const answer of await Promise.all(slow)) {
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('"code":"request_timeout"');
  }
  await expectUnharmed(path);
});

test('S20: slow writers do not keep others from being served', async () => {
  const path = await start({ limits: { headersTimeoutMs: 5_000 } });
  const slow = await Promise.all(Array.from({ length: 100 }, () => openSocket(path)));
  for (const socket of slow) socket.write('POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nX-');
  const began = performance.now();
  expect((await requestOverSocket(path, 'GET', '/healthz')).status).toBe(200);
  expect(performance.now() - began).toBeLessThan(2_000);
  for (const socket of slow) socket.destroy();
});

test('a fault of ours tells its title and no more', async () => {
  const path = await start({}, [
    route({
      method: 'GET',
      path: '/broken',
      operation: 'broken',
      on: ['shared'],
      handle: () => Promise.reject(new TypeError('the secret path /var/x')),
    }),
  ]);
  const answer = await requestOverSocket(path, 'GET', '/broken');
  expect([answer.status, code(answer)]).toEqual([500, 'internal']);
  expect(answer.text).not.toContain('/var/x');
  expect(logged()).toContain('the secret path /var/x');
});

test('a body cut off in the middle changes nothing', async () => {
  const path = await start();
  const whole =
    'POST /v1/agents/a/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"word":"x"}';
  for (let length = 1; length < whole.length; length += 1) {
    const answer = await exchangeRaw(path, whole.slice(0, length), { end: true });
    expect(answer.startsWith('HTTP/1.1 2')).toBe(false);
  }
  await expectUnharmed(path);
});
