import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import express, { type Express } from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  agentAuth,
  problemHandler,
  verifiedBody,
  verifiedJson,
  verifiedRequest,
} from '../../../src/verify/express.ts';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import { createVerifier, type Verifier } from '../../../src/verify/verifier.ts';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { asKeydError } from '../../../src/wire/problem.ts';
import type { FieldLine } from '../../../src/wire/field-lines.ts';
import { signedRequest, testKey, withHeader, type SignOptions } from '../../support/signed-request.ts';

const key = testKey();
const json: FieldLine = ['Content-Type', 'application/json'];
const body = Buffer.from('{"amount":3000}');
let server: Server;
let port: number;
let executed: string[];

function verifier(): Verifier {
  return createVerifier({
    origins: ['https://api.example'],
    profiles: ['rfc9421'],
    credentials: { pinnedKey: () => ({ id: 'planner', jwk: key.jwk, assurance: 'hw-key' }) },
    nonceStore: new MemoryNonceStore({ maxEntries: 100 }),
  });
}

function application(): Express {
  const app = express();
  app.use('/parsed', express.json());
  app.use('/raw', express.raw({ type: () => true, inflate: false }));
  app.use(agentAuth(verifier(), { maxBodyOctets: 10_000 }));
  app.all('/{*path}', (request, response) => {
    const { agent, method, target } = verifiedRequest(request);
    executed.push(`${method} ${target.canonical}`);
    response.json({ agent: agent.id, octets: verifiedBody(request).length, value: verifiedJson(request) });
  });
  app.use(problemHandler);
  return app;
}

beforeEach(async () => {
  executed = [];
  server = createServer(application()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly json: Readonly<Record<string, unknown>>;
}

/** Sends the request octet for octet as it was signed: its own target, header lines and body. */
async function send({ method, url, headers, body: content }: ReceivedRequest): Promise<Answer> {
  const request = httpRequest({
    host: '127.0.0.1',
    port,
    method,
    path: url,
    headers: headers.flat(),
    setHost: false,
  });
  request.end(content);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const text = Buffer.concat(await response.toArray() as Buffer[]).toString(); // prettier-ignore
  return {
    status: response.statusCode ?? 0,
    type: response.headers['content-type'] ?? '',
    json: JSON.parse(text) as Answer['json'],
  };
}

function signed(options: Partial<SignOptions> = {}): ReceivedRequest {
  const nowSeconds = Math.floor(Date.now() / 1000);
  const request = signedRequest({ profile: 'rfc9421', key, nowSeconds, headers: [json], body, ...options });
  const octets = request.body?.length ?? 0;
  return octets === 0
    ? request
    : { ...request, headers: [...request.headers, ['Content-Length', String(octets)]] };
}

describe('agentAuth', () => {
  it('lets a verified request through, once, with its octets', async () => {
    const request = signed();
    expect(await send(request)).toMatchObject({
      status: 200,
      json: { agent: 'planner', octets: body.length, value: { amount: 3000 } },
    });
    expect(await send(request)).toMatchObject({
      status: 401,
      type: 'application/problem+json; charset=utf-8',
      json: { code: 'replayed', type: 'urn:agentkeyd:problem:replayed', status: 401 },
    });
    expect(executed).toEqual(['POST https://api.example/v1/pay?to=bob']);
  });

  it('reads what express.raw left, and requests without content', async () => {
    expect(await send(signed({ targetUri: 'https://api.example/raw/x' }))).toMatchObject({ status: 200 });
    const get = signedRequest({
      profile: 'rfc9421',
      key,
      nowSeconds: Math.floor(Date.now() / 1000),
      method: 'GET',
    });
    expect(await send(get)).toMatchObject({ status: 415, json: { code: 'unsupported_media_type' } });
    expect(executed).toHaveLength(2);
  });

  it('S7: answers 4xx to an altered request and runs nothing', async () => {
    const altered: [ReceivedRequest, number][] = [
      [{ ...signed(), body: Buffer.from('{"amount":9000}') }, 401],
      [{ ...signed(), method: 'PUT' }, 401],
      [{ ...signed(), url: '/v1/pay?to=eve' }, 401],
      [{ ...signed(), url: '/v1/../v1/pay?to=bob' }, 400],
      [withHeader(signed(), 'host', 'evil.example'), 401],
      [withHeader(signed(), 'signature', undefined), 401],
      [withHeader(signed(), 'signature-input', 'sig=('), 400],
      [withHeader(signed(), 'content-type', 'text/plain'), 401],
    ];
    for (const [request, status] of altered) {
      expect(await send(request)).toMatchObject({ status, json: { status } });
    }
    expect(executed).toEqual([]);
    expect(await send(signed())).toMatchObject({ status: 200 });
  });

  it('S7: hands out strict JSON only', async () => {
    const twice = Buffer.from('{"amount":1,"amount":9000}');
    expect(await send(signed({ body: twice }))).toMatchObject({
      status: 400,
      json: { code: 'malformed_json' },
    });
    const form = {
      body: Buffer.from('amount=1'),
      headers: [['Content-Type', 'application/x-www-form-urlencoded']] as const,
    };
    expect(await send(signed(form))).toMatchObject({ status: 415 });
    const gzip = [json, ['Content-Encoding', 'gzip']] as const;
    expect(await send(signed({ headers: gzip }))).toMatchObject({ status: 415 });
  });

  it('refuses long content with an answer, declared or not', async () => {
    const long = Buffer.alloc(20_000, 0x61);
    expect(await send(signed({ body: long }))).toMatchObject({
      status: 413,
      json: { code: 'body_too_large' },
    });
    const undeclared = withHeader(signed({ body: long }), 'content-length', undefined);
    const chunked: ReceivedRequest = {
      ...undeclared,
      headers: [...undeclared.headers, ['Transfer-Encoding', 'chunked']],
    };
    expect(await send(chunked)).toMatchObject({ status: 413 });
    expect(executed).toEqual([]);
  });

  it('answers 500, and runs nothing, where a body parser ran first', async () => {
    const answer = await send(signed({ targetUri: 'https://api.example/parsed/x' }));
    expect(answer).toMatchObject({ status: 500, json: { code: 'internal' } });
    expect(answer.json['detail']).toBeUndefined();
    expect(executed).toEqual([]);
  });

  it('survives a client that goes away in the middle of its content', async () => {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('POST /x HTTP/1.1\r\nHost: api.example\r\nContent-Length: 100\r\n\r\nabc');
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    expect(await send(signed())).toMatchObject({ status: 200 });
  });

  it('guards its accessors: a route without it gets nothing', async () => {
    server.removeAllListeners('request');
    const app = express();
    app.get('/', (request, response) => {
      let code = '';
      try {
        verifiedRequest(request);
      } catch (thrown) {
        code = asKeydError(thrown).code;
      }
      response.json({ code });
    });
    server.on('request', app);
    expect(await send({ method: 'GET', url: '/', headers: [['Host', 'api.example']] })).toMatchObject({
      json: { code: 'internal' },
    });
  });
});
