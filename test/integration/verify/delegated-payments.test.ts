/** examples/delegated-payments.ts as docs/delegation.md has it run, over the sources instead of the package. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReceivedRequest } from '../../../src/verify/received-request.ts';
import { clientIdAt, signedChain, TRUST_DOMAIN, type TokenTerms } from '../../support/delegation-chain.ts';
import { EXAMPLE_HOOK, exampleFile } from '../../support/example-hook.ts';
import { signedRequest, testKey, wit, type SignOptions } from '../../support/signed-request.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const EXAMPLE = exampleFile('delegated-payments.ts');

const grantKey = testKey();
const witIssuer = testKey();
const statusKey = testKey();
const rootKey = testKey();
const leafKey = testKey();
const nowSeconds = Math.floor(Date.now() / 1000);
const times: TokenTerms = { iat: nowSeconds - 10, exp: nowSeconds + 3000 };
let directory: TempDir;
let server: ChildProcess;
let port: number;

beforeAll(async () => {
  directory = await makeTempDir();
  const jwks = (key: typeof grantKey) => ({ keys: [key.jwk] });
  writeFileSync(
    join(directory.path, 'trust.json'),
    JSON.stringify({
      issuer: 'https://issuer.example',
      trustDomain: TRUST_DOMAIN,
      witKeys: jwks(witIssuer),
      grantKeys: jwks(grantKey),
      statusKeys: jwks(statusKey),
      statusLists: 'https://127.0.0.1:1/v1/status/',
      sandbox: true,
    }),
  );
  server = spawn(
    process.execPath,
    ['--import', EXAMPLE_HOOK, EXAMPLE, 'trust.json', 'https://api.example', '0'],
    {
      cwd: directory.path,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  if (server.stdout === null) throw new Error('no output');
  const [line] = (await once(createInterface(server.stdout), 'line')) as [string];
  port = Number(/\d+$/.exec(line)?.[0]);
});
afterAll(async () => {
  const ended = once(server, 'exit');
  server.kill();
  await ended;
  await directory.remove();
});

async function pay(content: string, leaf: TokenTerms, more: Partial<SignOptions> = {}) {
  const { tokens } = signedChain([times, { ...times, ...leaf }], { grantKey, keys: [rootKey, leafKey] });
  const body = Buffer.from(content);
  return send(
    signedRequest({
      profile: 'rfc9421',
      key: leafKey,
      nowSeconds: Math.floor(Date.now() / 1000),
      targetUri: 'https://api.example/v1/payments',
      body,
      headers: [
        ['Content-Type', 'application/json'],
        ['Content-Length', String(body.length)],
        ['Workload-Identity-Token', wit(witIssuer, leafKey, { nowSeconds, claims: { sub: clientIdAt(1) } })],
        ['Agentkeyd-Delegation', tokens.join('~')],
      ],
      ...more,
    }),
  );
}

async function send({ method, url, headers, body }: ReceivedRequest) {
  const request = httpRequest({
    host: '127.0.0.1',
    port,
    method,
    path: url,
    headers: headers.flat(),
    setHost: false,
  });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const text = Buffer.concat(await response.toArray() as Buffer[]).toString(); // prettier-ignore
  return { status: response.statusCode, json: JSON.parse(text) as Readonly<Record<string, unknown>> };
}

describe('examples/delegated-payments.ts', () => {
  const leaf: TokenTerms = {
    scopes: ['payments.write'],
    aud: ['https://api.example'],
    constraints: [{ key: 'body:/amount', max: '3000.00' }],
  };

  it('lets through what the chain gives, and says on whose behalf', async () => {
    expect(await pay('{"amount":3000}', leaf)).toEqual({
      status: 201,
      json: { onBehalfOf: 'user:alice', through: [clientIdAt(0), clientIdAt(1)], payment: { amount: 3000 } },
    });
  });

  it('refuses what it does not: another amount, another scope, another key, a status that nobody can tell', async () => {
    expect(await pay('{"amount":3000.01}', leaf)).toMatchObject({
      status: 403,
      json: { code: 'authority_exceeded' },
    });
    expect(await pay('{"amount":1}', { ...leaf, scopes: ['payments.read'] })).toMatchObject({ status: 403 });
    expect(await pay('{"amount":1}', leaf, { key: rootKey })).toMatchObject({ status: 401 });
    const status = { status: { status_list: { idx: 1, uri: 'https://127.0.0.1:1/v1/status/1' } } };
    expect(await pay('{"amount":1}', { ...leaf, claims: status })).toMatchObject({
      status: 503,
      json: { code: 'status_unavailable' },
    });
  });

  it('answers 400 to WIMSE signatures that do not hold, as the draft asks', async () => {
    const now = Math.floor(Date.now() / 1000);
    const parameters = {
      expires: now + 60,
      tag: 'wimse-workload-to-workload',
      'wimse-aud': 'https://api.example/v1/other',
    };
    expect(await pay('{"amount":1}', leaf, { profile: 'wimse', parameters })).toMatchObject({
      status: 400,
      json: { code: 'verification_failed', status: 400 },
    });
    const good = { ...parameters, 'wimse-aud': 'https://api.example/v1/payments' };
    expect(await pay('{"amount":1}', leaf, { profile: 'wimse', parameters: good })).toMatchObject({
      status: 201,
    });
  });
});
