import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { createServer as createTlsServer, request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import express from 'express';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentAuth, verifiedRequest } from '../../../src/verify/express.ts';
import { MemoryNonceStore } from '../../../src/verify/nonce-store.ts';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { createVerifier } from '../../../src/verify/verifier.ts';
import { signedRequest, testKey, withHeader, type SignOptions } from '../../support/signed-request.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const run = promisify(execFile);
const key = testKey();
let directory: TempDir;
let certificate: { key: Buffer; cert: Buffer };
const servers: Server[] = [];

beforeAll(async () => {
  directory = await makeTempDir();
  const [keyFile, certFile] = [join(directory.path, 'key.pem'), join(directory.path, 'cert.pem')];
  const subject = ['-subj', '/CN=api.example', '-days', '1'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await run('openssl', ['req', '-x509', ...curve, '-keyout', keyFile, '-out', certFile, ...subject]);
  certificate = { key: await readFile(keyFile), cert: await readFile(certFile) };
});
afterAll(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await directory.remove();
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A resource server over plain HTTP that knows itself as https://api.example. */
function backend(trustedProxies?: readonly string[]): Promise<number> {
  const app = express();
  const verifier = createVerifier({
    origins: ['https://api.example'],
    profiles: ['rfc9421'],
    credentials: { pinnedKey: () => ({ id: 'planner', jwk: key.jwk, assurance: 'hw-key' }) },
    nonceStore: new MemoryNonceStore({ maxEntries: 100 }),
    ...(trustedProxies === undefined ? {} : { trustedProxies }),
  });
  app.use(agentAuth(verifier));
  app.all('/{*path}', (request, response) => response.send(verifiedRequest(request).target.canonical));
  return listen(createServer(app));
}

/** A proxy that ends TLS and passes requests on, with or without the Host it was asked for. */
function proxy(backendPort: number, keepHost: boolean): Promise<number> {
  const forward = createTlsServer(certificate, (incoming, outgoing) => {
    const headers = incoming.rawHeaders.flatMap((value, index, all) => {
      const name = index % 2 === 0 ? value : (all[index - 1] ?? '');
      const replaced = !keepHost && name.toLowerCase() === 'host' && index % 2 === 1;
      return [replaced ? `backend.internal:${String(backendPort)}` : value];
    });
    headers.push('X-Forwarded-Proto', 'https', 'X-Forwarded-Host', incoming.headers.host ?? '');
    const onward = httpRequest({
      host: '127.0.0.1',
      port: backendPort,
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers,
      setHost: false,
    });
    onward.on('response', (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(outgoing);
    });
    incoming.pipe(onward);
  });
  return listen(forward);
}

async function send(port: number, { method, url, headers }: ReceivedRequest): Promise<string> {
  const request = httpsRequest({
    host: '127.0.0.1',
    port,
    method,
    path: url,
    headers: headers.flat(),
    setHost: false,
    ca: certificate.cert,
    servername: 'api.example',
    checkServerIdentity: () => undefined,
  });
  request.end();
  const [response] = (await once(request, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return response.statusCode === 200 ? text : (JSON.parse(text) as { code: string }).code;
}

const signed = (options: Partial<SignOptions> = {}): ReceivedRequest =>
  signedRequest({
    profile: 'rfc9421',
    key,
    nowSeconds: Math.floor(Date.now() / 1000),
    method: 'GET',
    ...options,
  });
const forEvil = (): ReceivedRequest => signed({ targetUri: 'https://evil.example/v1/pay?to=bob' });

describe('S5: behind a proxy that ends TLS', () => {
  it('S5: a proxy that keeps Host needs no configuration; what was signed for another is refused', async () => {
    const port = await proxy(await backend(), true);
    expect(await send(port, signed())).toBe('https://api.example/v1/pay?to=bob');
    expect(await send(port, forEvil())).toBe('verification_failed');
    expect(await send(port, withHeader(forEvil(), 'host', 'api.example'))).toBe('signature_invalid');
    expect(await send(port, signed({ targetUri: 'http://api.example/v1/pay?to=bob' }))).toBe(
      'signature_invalid',
    );
  });

  it('S5: a proxy that replaces Host works only when trusted', async () => {
    expect(await send(await proxy(await backend(), false), signed())).toBe('verification_failed');
    const port = await proxy(await backend(['127.0.0.1']), false);
    expect(await send(port, signed())).toBe('https://api.example/v1/pay?to=bob');
    expect(await send(port, forEvil())).toBe('verification_failed');
    expect(await send(port, withHeader(forEvil(), 'host', 'api.example'))).toBe('signature_invalid');
  });
});
