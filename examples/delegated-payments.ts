/**
 * A resource server that asks every agent for its chain of delegations, verifies it offline, and lets it do what the
 * chain gives and no more.
 *
 *   node examples/delegated-payments.ts trust.json https://api.example 8080
 *
 * trust.json pins whom it trusts, each key for one purpose: {"issuer": "https://issuer.example",
 * "trustDomain": "example.org", "witKeys": {"keys": [...]}, "grantKeys": {"keys": [...]}, "statusKeys": {"keys": [...]},
 * "statusLists": "https://issuer.example/v1/status/", "sandbox": false}. Run it behind whatever ends TLS for the origin.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import {
  agentAuth,
  createVerifier,
  problemHandler,
  SqliteNonceStore,
  StatusLists,
  trustedKeys,
  verifiedJson,
  verifiedRequest,
} from 'agentkeyd/verify';

interface Trust {
  readonly issuer: string;
  readonly trustDomain: string;
  readonly witKeys: unknown;
  readonly grantKeys: unknown;
  readonly statusKeys: unknown;
  readonly statusLists: string;
  /** Its keys are software, and no person approved its grants. */
  readonly sandbox: boolean;
}

const [trustFile = 'trust.json', origin = 'https://api.example', port = '8080'] = process.argv.slice(2);
const trust = JSON.parse(readFileSync(trustFile, 'utf8')) as Trust;

const status = new StatusLists({
  authorities: [{ prefix: trust.statusLists, keys: trustedKeys(trust.statusKeys) }],
  // What is revoked is refused five minutes later at most; a list that can not be had refuses too.
  maxStatusAgeSeconds: 300,
  fetch: async (uri, signal) => {
    const response = await fetch(uri, { signal, redirect: 'error' });
    if (!response.ok) throw new Error(`${uri} answered ${response.status}`);
    return response.text();
  },
});

const verifier = createVerifier({
  origins: [origin],
  profiles: ['rfc9421', 'wimse'],
  credentials: { wit: { trustDomain: trust.trustDomain, keys: trustedKeys(trust.witKeys) } },
  nonceStore: new SqliteNonceStore({ path: 'nonces.db' }),
  delegation: {
    roots: [
      {
        issuer: trust.issuer,
        trustDomain: trust.trustDomain,
        keys: trustedKeys(trust.grantKeys),
        ...(trust.sandbox ? { acceptDevelopment: true as const } : {}),
      },
    ],
    requiredScopes: ({ method }) => [method === 'GET' ? 'payments.read' : 'payments.write'],
    // Asking costs nothing here; what a payment may move is for the chain's constraint on body:/amount.
    costs: () => new Map(),
    status,
  },
  ...(trust.sandbox ? { acceptSoftware: true as const } : {}),
});

const app = express();
app.use(agentAuth(verifier));
app.post('/v1/payments', (request, response) => {
  const { delegation } = verifiedRequest(request);
  response.status(201).json({
    onBehalfOf: delegation?.principal,
    through: delegation?.agents.map(({ clientId }) => clientId),
    payment: verifiedJson(request),
  });
});
app.use(problemHandler);

const server = createServer((request, response) => {
  app(request, response);
}).listen(Number(port), '127.0.0.1', () => {
  console.log(`listening on port ${(server.address() as AddressInfo).port}`);
});
