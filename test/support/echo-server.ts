/** A resource server behind `agentkeyd/verify` that answers with what it was sent, as verified. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import type { SandboxDescription } from '../../scripts/sandbox/description.ts';
import {
  agentAuth,
  createVerifier,
  MemoryNonceStore,
  problemHandler,
  trustedKeys,
  verifiedBody,
  verifiedRequest,
} from '../../src/verify/index.ts';
import { issuerJson } from './issuer-web.ts';

export interface Echo {
  readonly method: string;
  readonly url: string;
  readonly contentType: string | null;
  readonly length: number;
  /** Hex, of the content. */
  readonly sha256: string;
  readonly text: string;
  readonly agent: string;
  readonly thumbprint: string;
  readonly profile: string;
}

export interface EchoServer {
  readonly origin: string;
  /** Requests that reached it, verified or not. */
  readonly requests: number;
  close(): void;
}

/** `/to/STATUS?LOCATION` redirects; `/slow` answers after 10 s; every other path echoes. */
export async function startEchoServer(sandbox: SandboxDescription): Promise<EchoServer> {
  const app = express();
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    app(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const verifier = createVerifier({
    origins: [origin],
    profiles: ['rfc9421', 'aauth'],
    credentials: {
      wit: {
        trustDomain: sandbox.trustDomain,
        keys: trustedKeys(await issuerJson(sandbox, '/v1/keys/wit.json')),
      },
      agentTokens: {
        issuers: [
          {
            issuer: sandbox.issuer,
            domain: sandbox.aauthDomain,
            keys: trustedKeys(await issuerJson(sandbox, '/v1/keys/agent-token.json')),
          },
        ],
      },
    },
    nonceStore: new MemoryNonceStore({ maxEntries: 10_000 }),
    acceptSoftware: true,
  });
  app.use(agentAuth(verifier));
  app.all('/to/:status', (request, response) => {
    const location = decodeURIComponent(request.originalUrl.split('?')[1] ?? '');
    response.writeHead(Number(request.params.status), { location }).end();
  });
  app.all('/slow', (_request, response) => {
    setTimeout(() => response.end(), 10_000).unref();
  });
  app.use((request, response) => {
    const { agent, profile } = verifiedRequest(request);
    const body = verifiedBody(request);
    const echo: Echo = {
      method: request.method,
      url: request.originalUrl,
      contentType: request.headers['content-type'] ?? null,
      length: body.length,
      sha256: createHash('sha256').update(body).digest('hex'),
      text: body.length > 4096 ? '' : Buffer.from(body).toString('utf8'),
      agent: agent.id,
      thumbprint: agent.thumbprint,
      profile,
    };
    response.json(echo);
  });
  app.use(problemHandler);
  return {
    origin,
    get requests() {
      return requests;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
