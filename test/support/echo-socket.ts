/** A socket server with two routes, one of which tells what it is given; each test has its own. */
import { afterEach, expect } from 'vitest';
import { object, text } from '../../src/wire/check.ts';
import { ok, route, type AnyRoute } from '../../src/socket/route.ts';
import { requestOverSocket } from './http-over-socket.ts';
import { startSocket, type SocketFixture, type SocketFixtureOptions } from './socket-fixture.ts';

let fixture: SocketFixture | undefined;

export const calls: unknown[] = [];

afterEach(async () => {
  await fixture?.stop();
  fixture = undefined;
  calls.length = 0;
});

export async function start(
  options: SocketFixtureOptions = {},
  more: readonly AnyRoute[] = [],
): Promise<string> {
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

export function logged(): string {
  return fixture?.log.join('') ?? '';
}

/** As /metrics says. */
export async function inFlight(): Promise<number> {
  const text = (await fixture?.metrics.render()) ?? '';
  return Number(/^agentkeyd_requests_in_flight\{socket="shared"\} (\d+)$/m.exec(text)?.[1] ?? 0);
}

export function code(answer: { json: unknown }): unknown {
  return (answer.json as { code?: unknown } | undefined)?.code;
}

/** The point of every refusal: nothing was called, and the next request is served. */
export async function expectUnharmed(path: string): Promise<void> {
  expect(calls).toEqual([]);
  expect((await requestOverSocket(path, 'GET', '/healthz')).status).toBe(200);
}
