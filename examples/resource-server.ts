/**
 * A resource server that accepts payments from agents, and each signed payment once.
 *
 *   node examples/resource-server.ts trust.json https://api.example 8080
 *
 * trust.json pins whom it trusts, each key for one purpose: {"trustDomain": "example.org",
 * "witKeys": {"keys": [...]}, "issuer": "https://ap.example", "aauthDomain": "ap.example",
 * "agentTokenKeys": {"keys": [...]}, "acceptSoftware": false}. Run it behind whatever ends TLS for the origin.
 * With "settlementKey": "settlement.pem" it says what a payment has cost, signed, so that the agent's budget gets back
 * the rest of what it had reserved; daemons pin the public half.
 */
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import express from 'express';
import {
  agentAuth,
  createVerifier,
  problemHandler,
  sendSettled,
  SqliteNonceStore,
  trustedKeys,
  verifiedJson,
  verifiedRequest,
} from 'agentkeyd/verify';

interface Trust {
  readonly trustDomain: string;
  readonly witKeys: unknown;
  readonly issuer: string;
  readonly aauthDomain: string;
  readonly agentTokenKeys: unknown;
  /** True for a sandbox, whose TPM and token are software. */
  readonly acceptSoftware: boolean;
  /** File of the private key, PEM, that answers are signed with. */
  readonly settlementKey?: string;
}

const [trustFile = 'trust.json', origin = 'https://api.example', port = '8080'] = process.argv.slice(2);
const trust = JSON.parse(readFileSync(trustFile, 'utf8')) as Trust;

const verifier = createVerifier({
  // The name this server goes by: what an agent signed for another name is refused here.
  origins: [origin],
  profiles: ['rfc9421', 'aauth'],
  credentials: {
    wit: { trustDomain: trust.trustDomain, keys: trustedKeys(trust.witKeys) },
    agentTokens: {
      issuers: [{ issuer: trust.issuer, domain: trust.aauthDomain, keys: trustedKeys(trust.agentTokenKeys) }],
    },
  },
  // Shared by every process that opens the file; it makes a signed request good for one execution.
  nonceStore: new SqliteNonceStore({ path: 'nonces.db' }),
  ...(trust.acceptSoftware ? { acceptSoftware: true as const } : {}),
});

const settlementKey =
  trust.settlementKey === undefined ? undefined : createPrivateKey(readFileSync(trust.settlementKey));

const app = express();
// Before any body parser: the octets that were signed are the octets that count.
app.use(agentAuth(verifier));
app.post('/payments', (request, response) => {
  const { agent, profile } = verifiedRequest(request);
  const json = { payer: agent.id, assurance: agent.assurance, profile, payment: verifiedJson(request) };
  if (settlementKey === undefined) {
    response.status(201).json(json);
    return;
  }
  // A real server knows its price; this one takes a dollar of whatever was offered.
  const cost = { unit: 'USD', decimals: 2, amount: 100n };
  sendSettled(request, response, { key: settlementKey, cost, status: 201, json });
});
app.use(problemHandler);

createServer((request, response) => {
  app(request, response);
}).listen(Number(port), '127.0.0.1');
