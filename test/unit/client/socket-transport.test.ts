/** The transport against servers that behave badly: every failure is a KeydError with its own code. */
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SocketTransport } from '../../../src/client/socket-transport.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

let temp: TempDir;
let server: Server | undefined;
beforeEach(async () => {
  temp = await makeTempDir();
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await temp.remove();
});

/** A server that answers every connection's first octets with `answer`, and closes unless it is to keep quiet. */
async function transport(answer: string | Buffer, timeoutMs = 5_000, close = true): Promise<SocketTransport> {
  const socketPath = join(temp.path, 's');
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      if (close) socket.end(answer);
      else socket.write(answer);
    });
  });
  await new Promise<void>((resolve) => server?.listen(socketPath, resolve));
  return new SocketTransport({ socketPath, timeoutMs });
}

function http(status: number, body: string): string {
  return `HTTP/1.1 ${status} X\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

describe('SocketTransport', () => {
  it.each([
    ['nothing at all', '', 'daemon_unreachable'],
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n', 'daemon_unreachable'],
    ['half of what it promised', 'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"a"', 'daemon_unreachable'],
    ['a success that is no JSON', http(200, '<html>'), 'internal'],
    ['a failure that is no JSON', http(500, '<html>'), 'internal'],
    ['a failure that is no object', http(403, 'null'), 'internal'],
    ['a code that nobody knows', http(403, '{"code":"constructor"}'), 'internal'],
    ['more than anybody should read', http(200, `"${'x'.repeat(5 * 1024 * 1024)}"`), 'internal'],
    ['a problem', http(429, '{"code":"too_many_requests","retryAfterSeconds":2}'), 'too_many_requests'],
  ])('answered with %s', async (_what, answer, code) => {
    const to = await transport(answer);
    expect(await codeOfAsync(() => to.call('GET', '/v1/status'))).toBe(code);
    to.close();
  });

  it('gives up on silence, in the head as in the body, and says how long it waited', async () => {
    for (const answer of ['', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{']) {
      const to = await transport(answer, 100, false);
      await expect(to.call('GET', '/v1/status')).rejects.toMatchObject({
        code: 'deadline_exceeded',
        message: expect.stringContaining('100 ms') as string,
      });
      to.close();
      await new Promise((resolve) => server?.close(resolve));
    }
  });

  it('rejects with the caller’s own reason when he gives up', async () => {
    const reason = new Error('enough');
    const to = await transport('', 5_000, false);
    const controller = new AbortController();
    const pending = to.call('GET', '/v1/status', undefined, { signal: controller.signal });
    setTimeout(() => {
      controller.abort(reason);
    }, 20);
    await expect(pending).rejects.toBe(reason);
    await expect(to.call('GET', '/', undefined, { signal: controller.signal })).rejects.toBe(reason);
    to.close();
  });

  it('passes on what the problem says to do', async () => {
    const body = JSON.stringify({
      code: 'malformed_request',
      detail: 'no',
      faults: ['a', 'b'],
      retryAfterSeconds: 3,
    });
    const to = await transport(http(400, body));
    await expect(to.call('POST', '/v1/agents', {})).rejects.toMatchObject({
      code: 'malformed_request',
      message: 'no',
      faults: ['a', 'b'],
      retryAfterSeconds: 3,
    });
    to.close();
  });
});
