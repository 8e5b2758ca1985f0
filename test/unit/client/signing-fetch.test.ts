/** The fetch that signs, against a real HTTP server; what is signed is compared with what arrives. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HttpMessageInput } from '../../../src/client/http-message-input.ts';
import { signingFetch } from '../../../src/client/signing-fetch.ts';

interface Arrived {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

let server: Server;
let origin: string;
let arrived: Arrived[];
let described: HttpMessageInput[];

const agentFetch = signingFetch(
  {
    signMessage: (input) => {
      described.push(input);
      return Promise.resolve({
        headers: { signature: `sig=:${described.length}:`, 'content-digest': 'sha-256=:x:' },
      });
    },
  },
  {},
);

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      arrived.push({ method, url, headers, body: Buffer.concat(chunks) });
      const to = /^\/to\/(\d+)\?(.*)$/.exec(url);
      if (url === '/loop') response.writeHead(307, { location: '/loop' }).end();
      else if (to === null) response.end('done');
      else response.writeHead(Number(to[1]), { location: decodeURIComponent(to[2] ?? '') }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => server.close());
beforeEach(() => {
  arrived = [];
  described = [];
});

describe('signingFetch', () => {
  it('sends exactly the method, target, headers and body that were described for signing', async () => {
    const response = await agentFetch(`${origin}/pay?to=1`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-trace': 'a' },
      body: '{"amount":1}',
    });
    expect(await response.text()).toBe('done');
    expect(described).toHaveLength(1);
    expect(described[0]).toMatchObject({
      profile: 'rfc9421',
      method: 'POST',
      targetUri: `${origin}/pay?to=1`,
    });
    expect(Buffer.from(described[0]?.body ?? []).toString()).toBe('{"amount":1}');
    expect(arrived[0]).toMatchObject({ method: 'POST', url: '/pay?to=1', body: Buffer.from('{"amount":1}') });
    expect(arrived[0]?.headers).toMatchObject({ signature: 'sig=:1:', 'content-type': 'application/json' });
  });

  it('describes no body for a request without one, and an empty one as empty', async () => {
    await agentFetch(`${origin}/a`);
    expect(described[0]).not.toHaveProperty('body');
    await agentFetch(`${origin}/a`, { method: 'POST', body: '' });
    expect(described[1]?.body).toHaveLength(0);
  });

  it('reads a stream whole and signs its octets', async () => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('one,'));
        controller.enqueue(new TextEncoder().encode('two'));
        controller.close();
      },
    });
    await agentFetch(`${origin}/s`, { method: 'POST', body, duplex: 'half' } as RequestInit);
    expect(Buffer.from(described[0]?.body ?? []).toString()).toBe('one,two');
    expect(arrived[0]?.body.toString()).toBe('one,two');
  });

  it('refuses a body over the bound before anything is signed or sent', async () => {
    const body = new Uint8Array(1024 * 1024 + 1);
    await expect(agentFetch(`${origin}/s`, { method: 'POST', body })).rejects.toMatchObject({
      code: 'body_too_large',
    });
    expect(described).toHaveLength(0);
    expect(arrived).toHaveLength(0);
  });

  it('signs a same-origin redirect anew, as GET without the body after 303', async () => {
    await agentFetch(`${origin}/to/303?%2Fnext`, { method: 'POST', body: 'x' });
    expect(arrived.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'POST /to/303?%2Fnext',
      'GET /next',
    ]);
    expect(described[1]).toMatchObject({ method: 'GET', targetUri: `${origin}/next` });
    expect(arrived[1]?.headers['signature']).toBe('sig=:2:');
  });

  it('keeps method and body across 307', async () => {
    await agentFetch(`${origin}/to/307?%2Fnext`, { method: 'PUT', body: 'x' });
    expect(arrived[1]).toMatchObject({ method: 'PUT', url: '/next', body: Buffer.from('x') });
  });

  it('S5: does not carry signed headers to another origin', async () => {
    const elsewhere = encodeURIComponent('http://localhost:1/steal');
    await expect(agentFetch(`${origin}/to/302?${elsewhere}`)).rejects.toMatchObject({
      code: 'verification_failed',
    });
    expect(described).toHaveLength(1);
  });

  it('leaves redirects to a caller who asked for them', async () => {
    const response = await agentFetch(`${origin}/to/302?%2Fnext`, { redirect: 'manual' });
    expect(response.status).toBe(302);
    expect(arrived).toHaveLength(1);
  });

  it('gives up on a redirect loop', async () => {
    await expect(agentFetch(`${origin}/loop`)).rejects.toMatchObject({ code: 'verification_failed' });
    expect(arrived).toHaveLength(6);
  });
});
