import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { object, text } from '../../../src/wire/check.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { DEFAULT_LIMITS } from '../../../src/socket/limits.ts';
import { ok, route, type AnyRoute } from '../../../src/socket/route.ts';
import { startSocket, type SocketFixture, type SocketFixtureOptions } from '../../support/socket-fixture.ts';
import { exchangeRaw, openSocket, requestOverSocket } from '../../support/http-over-socket.ts';

let fixture: SocketFixture | undefined;
const calls: unknown[] = [];

afterEach(async () => {
  await fixture?.stop();
  fixture = undefined;
  calls.length = 0;
});

async function start(options: SocketFixtureOptions = {}, more: readonly AnyRoute[] = []): Promise<string> {
  fixture = await startSocket([...echoRoutes(), ...more], options);
  return fixture.path;
}

function echoRoutes(): readonly AnyRoute[] {
  return [
    route<{ readonly word: string }>({
      method: 'POST',
      path: '/v1/agents/{agent}/echo',
      operation: 'echo',
      on: ['shared'],
      body: object({ word: text({ maxLength: 2_000_000 }) }),
      answerLifeMs: 60_000,
      handle: ({ body, agent, caller }) => {
        calls.push(body);
        return Promise.resolve(
          ok({ word: body.word.slice(0, 10), agent, uid: caller.uid, count: calls.length }),
        );
      },
    }),
    route({
      method: 'GET',
      path: '/healthz',
      operation: 'healthz',
      on: ['shared'],
      handle: () => Promise.resolve(ok({ status: 'ok' })),
    }),
  ];
}

/** As /metrics says. */
async function inFlight(): Promise<number> {
  const text = (await fixture?.metrics.render()) ?? '';
  return Number(/^agentkeyd_requests_in_flight\{socket="shared"\} (\d+)$/m.exec(text)?.[1] ?? 0);
}

function code(answer: { json: unknown }): unknown {
  return (answer.json as { code?: unknown } | undefined)?.code;
}

/** The point of every refusal: nothing was called, and the next request is served. */
async function expectUnharmed(path: string): Promise<void> {
  expect(calls).toEqual([]);
  expect((await requestOverSocket(path, 'GET', '/healthz')).status).toBe(200);
}

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

test('S20: connections beyond a share are told 429 and closed, and free again when others end', async () => {
  const path = await start({ limits: { share: { ...DEFAULT_LIMITS.share, maxConnections: 2 } } });
  const held = await Promise.all([openSocket(path), openSocket(path)]);
  const refused = await exchangeRaw(path, '');
  expect(refused).toMatch(/^HTTP\/1\.1 429 /);
  expect(refused).toMatch(/retry-after: 1/i);
  for (const socket of held) socket.destroy();
  await expect.poll(async () => (await requestOverSocket(path, 'GET', '/healthz')).status).toBe(200);
});

/** A route that answers when it is told to, and how many requests it has seen. */
function waitingRoute(): { readonly route: AnyRoute; readonly begun: (() => void)[] } {
  const begun: (() => void)[] = [];
  const waiting = route({
    method: 'GET',
    path: '/wait',
    operation: 'wait',
    on: ['shared'],
    handle: () =>
      new Promise((resolve) =>
        begun.push(() => {
          resolve(ok({}));
        }),
      ),
  });
  return { route: waiting, begun };
}

test('S20: requests beyond a share are held unbegun, and served in order as others are answered', async () => {
  const { route: waiting, begun } = waitingRoute();
  const path = await start({ limits: { share: { ...DEFAULT_LIMITS.share, maxRequests: 2 } } }, [waiting]);
  const asked = [1, 2].map(() => requestOverSocket(path, 'GET', '/wait'));
  await expect.poll(() => begun.length).toBe(2);
  let isServed = false;
  const third = requestOverSocket(path, 'GET', '/healthz').finally(() => (isServed = true));
  await expect.poll(() => inFlight()).toBe(3);
  await delay(50);
  expect(isServed).toBe(false);
  begun[0]?.();
  expect((await third).status).toBe(200);
  begun[1]?.();
  for (const answer of await Promise.all(asked)) expect(answer.status).toBe(200);
  await expectUnharmed(path);
});

test('S20: one that is held too long is 429 with Retry-After', async () => {
  const { route: waiting, begun } = waitingRoute();
  const share = { ...DEFAULT_LIMITS.share, maxRequests: 1, maxHeldMs: 200 };
  const path = await start({ limits: { share } }, [waiting]);
  const first = requestOverSocket(path, 'GET', '/wait');
  await expect.poll(() => begun.length).toBe(1);
  const refused = await requestOverSocket(path, 'GET', '/healthz');
  expect([refused.status, code(refused), refused.headers['retry-after']]).toEqual([
    429,
    'too_many_requests',
    '1',
  ]);
  begun[0]?.();
  expect((await first).status).toBe(200);
  await expectUnharmed(path);
});

test('S20: a connection with a request held is not read on: what its caller writes stays with the caller', async () => {
  const { route: waiting, begun } = waitingRoute();
  const share = { ...DEFAULT_LIMITS.share, maxRequests: 1, maxHeldMs: 60_000 };
  const path = await start({ limits: { share, maxPipelined: 1_000 } }, [waiting]);
  const first = requestOverSocket(path, 'GET', '/wait');
  await expect.poll(() => begun.length).toBe(1);
  const spinner = await openSocket(path);
  spinner.on('error', () => undefined);
  // Far more than kernel and parser hold together.
  const one = `GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(16_000)}\r\n\r\n`;
  const total = 600;
  for (let sent = 0; sent < total; sent += 1) spinner.write(one);
  let taken = 0;
  const grown = async (): Promise<number> => {
    const before = taken;
    taken = await inFlight();
    return taken - before;
  };
  await grown();
  await expect.poll(async () => (await grown()) === 0 && taken > 1, { interval: 100 }).toBe(true);
  expect(taken).toBeLessThan(total / 4);
  // Nothing of it was lost: once there is room, it is read on and answered.
  let answers = 0;
  spinner.on('data', (chunk: Buffer) => {
    answers += chunk.toString('latin1').split('HTTP/1.1 200').length - 1;
  });
  begun[0]?.();
  expect((await first).status).toBe(200);
  await expect.poll(() => answers).toBe(total);
  spinner.destroy();
  await expectUnharmed(path);
});

test('places of a connection that closes with one request served and one held are free again', async () => {
  const { route: waiting, begun } = waitingRoute();
  const share = { ...DEFAULT_LIMITS.share, maxRequests: 1 };
  const path = await start({ limits: { share } }, [waiting]);
  const socket = await openSocket(path);
  socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3));
  await expect.poll(() => inFlight()).toBe(3);
  await expect.poll(() => begun.length).toBe(1);
  socket.destroy();
  expect((await requestOverSocket(path, 'GET', '/healthz')).status).toBe(200);
  // None of those that were held was begun on its way out.
  expect(begun).toHaveLength(1);
});

test('S20: body octets in flight are bounded for a share', async () => {
  const path = await start({ limits: { share: { ...DEFAULT_LIMITS.share, maxOctets: 1_000 } } });
  const answer = await requestOverSocket(path, 'POST', '/v1/agents/a/echo', { word: 'x'.repeat(2_000) });
  expect([answer.status, code(answer)]).toEqual([429, 'too_many_requests']);
  await expectUnharmed(path);
});

test('S20: a caller that spins on refusals gets them at their rate, over all its connections', async () => {
  const share = { ...DEFAULT_LIMITS.share, maxRefusalsPerSecond: 10, maxRefusalDelayMs: 60_000 };
  let refused = 0;
  const denied = route({
    method: 'GET',
    path: '/denied',
    operation: 'denied',
    on: ['shared'],
    handle: () => {
      refused += 1;
      return Promise.reject(new KeydError('policy_denied', 'no rule allows it'));
    },
  });
  const path = await start({ limits: { share } }, [denied]);
  const began = performance.now();
  let answered = 0;
  const spin = async (): Promise<void> => {
    while (answered < 20) {
      expect((await requestOverSocket(path, 'GET', '/denied')).status).toBe(403);
      answered += 1;
    }
  };
  await Promise.all(Array.from({ length: 8 }, spin));
  const seconds = (performance.now() - began) / 1000;
  // Ten at once and ten a second; those whose answer waits have been judged.
  expect(answered).toBeLessThanOrEqual(10 + 10 * seconds + 1);
  expect(refused).toBeLessThanOrEqual(answered + 8);
  await expectUnharmed(path);
});

test('a caller that goes away aborts what was done for it', async () => {
  let aborted: unknown;
  let begun = false;
  const path = await start({}, [
    route({
      method: 'GET',
      path: '/wait',
      operation: 'wait',
      on: ['shared'],
      handle: async ({ signal }) => {
        begun = true;
        await new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => {
            resolve();
          });
        });
        aborted = signal.reason;
        throw new KeydError('caller_gone', 'gone');
      },
    }),
  ]);
  const controller = new AbortController();
  const asked = requestOverSocket(path, 'GET', '/wait', undefined, { signal: controller.signal });
  await expect.poll(() => begun).toBe(true);
  controller.abort();
  await expect(asked).rejects.toThrow();
  await expect.poll(() => (aborted as KeydError | undefined)?.code).toBe('caller_gone');
  await expectUnharmed(path);
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
  expect(fixture?.log.join('')).toContain('the secret path /var/x');
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

test('pipelined requests are answered in order', async () => {
  const path = await start();
  const one = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
  const last = 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  const answer = await exchangeRaw(path, one.repeat(7) + last);
  expect(answer.match(/HTTP\/1\.1 200/g)).toHaveLength(8);
});

test('a flood of pipelined requests ends the connection and nothing else', async () => {
  const path = await start({ limits: { maxPipelined: 4 } }, [
    route({
      method: 'GET',
      path: '/wait',
      operation: 'wait',
      on: ['shared'],
      handle: async () => {
        await delay(200);
        return ok({});
      },
    }),
  ]);
  const answer = await exchangeRaw(path, 'GET /wait HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2_000));
  expect(answer.match(/HTTP\/1\.1 200/g) ?? []).toHaveLength(4);
  expect(answer).toContain('"code":"too_many_requests"');
  await expectUnharmed(path);
});

test('S20: who piles up more headers than it may is cut off, and what it had piled up is let go', async () => {
  const share = { ...DEFAULT_LIMITS.share, maxRequests: 1, maxHeadOctets: 128 * 1024 };
  const wait = route({
    method: 'GET',
    path: '/wait',
    operation: 'wait',
    on: ['shared'],
    handle: async () => {
      await delay(50);
      return ok({});
    },
  });
  const path = await start({ limits: { share } }, [wait]);
  const one = `GET /wait HTTP/1.1\r\nHost: x\r\nX-Fill: ${'x'.repeat(14_000)}\r\n\r\n`;
  const answer = await exchangeRaw(path, one.repeat(20));
  expect((answer.match(/HTTP\/1\.1 200/g) ?? []).length).toBeLessThan(8);
  await vi.waitUntil(async () => (await inFlight()) === 0);
  await expectUnharmed(path);
  expect((await exchangeRaw(path, one.replace('Host', 'Connection: close\r\nHost'))).slice(0, 12)).toBe(
    'HTTP/1.1 200',
  );
});
