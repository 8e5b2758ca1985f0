import { createServer, IncomingMessage, request, type Server } from 'node:http';
import { Socket, type AddressInfo } from 'node:net';
import express from 'express';
import { afterEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../src/base/logger.ts';
import { channelOf } from '../../../src/issuer/http/channel-binding.ts';
import { rawProblem, sendProblem } from '../../../src/issuer/http/problem-response.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOf } from '../../support/code-of.ts';

const lines: string[] = [];
const logger = createLogger({
  name: 'test',
  level: 'info',
  destination: {
    write: (line) => {
      lines.push(line);
    },
  },
});
let server: Server | undefined;
afterEach(() => {
  server?.close();
  lines.length = 0;
});

/** What a client sees of `thrown`. */
async function answerTo(
  thrown: unknown,
): Promise<{ readonly response: IncomingMessage; readonly text: string }> {
  const app = express();
  app.use((_request, response) => {
    sendProblem(response, thrown, logger);
  });
  const listening = createServer((incoming, response) => {
    app(incoming, response);
  });
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const { port } = listening.address() as AddressInfo;
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        resolve({ response, text: Buffer.concat(chunks).toString() });
      });
    });
    sent.on('error', reject);
    sent.end();
  });
}

describe('sendProblem', () => {
  it('tells a 4xx with its faults and when to come back', async () => {
    const { response, text } = await answerTo(
      new KeydError('too_many_requests', 'slower', { retryAfterSeconds: 7, faults: ['a', 'b'] }),
    );
    expect(response.statusCode).toBe(429);
    expect(response.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'retry-after': '7',
      'cache-control': 'no-store',
    });
    expect(JSON.parse(text)).toEqual({
      type: 'urn:agentkeyd:problem:too_many_requests',
      title: 'Too many requests',
      status: 429,
      code: 'too_many_requests',
      detail: 'slower',
      faults: ['a', 'b'],
      retryAfterSeconds: 7,
    });
    expect(lines).toEqual([]);
  });

  it.each([
    ['a fault of our hardware', new KeydError('token_login_failed', 'slot 3 refused the PIN'), 503],
    ['a fault of our program', new TypeError('undefined is not a function at /opt/x.ts'), 500],
    ['what is no error at all', 'a string', 500],
  ])('tells only the title of %s, and logs the rest', async (_what, thrown, status) => {
    const { response, text } = await answerTo(thrown);
    expect(response.statusCode).toBe(status);
    expect(JSON.parse(text)).not.toHaveProperty('detail');
    expect(text).not.toMatch(/slot 3|undefined|a string/);
    expect(lines.join('')).toMatch(/slot 3|undefined is not|a string/);
  });
});

describe('rawProblem', () => {
  it('is a whole answer whose length is right', () => {
    const [head = '', body = ''] = rawProblem(new KeydError('malformed_request', 'fünf')).split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(/content-length: (\d+)/.exec(head)?.[1]).toBe(String(Buffer.byteLength(body)));
    expect(JSON.parse(body)).toMatchObject({ code: 'malformed_request' });
  });
});

describe('channelOf', () => {
  const plain = new IncomingMessage(new Socket());

  it('S9: a connection without an exporter is a fault, never proxied by itself', () => {
    expect(codeOf(() => channelOf(plain, 'exporter'))).toBe('internal');
  });

  it('is undefined where configuration says proxied', () => {
    expect(channelOf(plain, 'proxied')).toBeUndefined();
  });
});
