import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { KeydError } from '../../../src/wire/problem.ts';
import { DEFAULT_LIMITS } from '../../../src/socket/limits.ts';
import { ok, route, type AnyRoute } from '../../../src/socket/route.ts';
import { exchangeRaw, openSocket, requestOverSocket } from '../../support/http-over-socket.ts';
import { code, expectUnharmed, inFlight, start } from '../../support/echo-socket.ts';

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

test('S20: connections beyond a share are told 429 and closed, and free again when others end', async () => {
  const path = await start({ limits: { share: { ...DEFAULT_LIMITS.share, maxConnections: 2 } } });
  const held = await Promise.all([openSocket(path), openSocket(path)]);
  const refused = await exchangeRaw(path, '');
  expect(refused).toMatch(/^HTTP\/1\.1 429 /);
  expect(refused).toMatch(/retry-after: 1/i);
  for (const socket of held) socket.destroy();
  await expect.poll(async () => (await requestOverSocket(path, 'GET', '/healthz')).status).toBe(200);
});

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
