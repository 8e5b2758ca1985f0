/** A resource server as anybody could write it with `agentkeyd/verify` and express. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import {
  agentAuth,
  createVerifier,
  MemoryNonceStore,
  trustedKeys,
  verifiedJson,
  verifiedRequest,
  type DelegationRules,
} from 'agentkeyd/verify';

export interface PinnedIssuer {
  readonly issuer: string;
  readonly trustDomain: string;
  readonly aauthDomain: string;
  readonly witKeys: unknown;
  readonly agentTokenKeys: unknown;
}

export interface ResourceServer {
  readonly origin: string;
  close(): void;
}

/**
 * Starts it on loopback; it pins the issuer's keys by purpose and learns none from a request.
 * @param delegation where every request has to bring its chain
 */
export async function startResourceServer(
  pinned: PinnedIssuer,
  delegation?: DelegationRules,
): Promise<ResourceServer> {
  const app = express();
  const server = createServer((request, response) => {
    app(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const verifier = createVerifier({
    origins: [origin],
    profiles: ['rfc9421', 'aauth'],
    credentials: {
      wit: { trustDomain: pinned.trustDomain, keys: trustedKeys(pinned.witKeys) },
      agentTokens: {
        issuers: [
          { issuer: pinned.issuer, domain: pinned.aauthDomain, keys: trustedKeys(pinned.agentTokenKeys) },
        ],
      },
    },
    nonceStore: new MemoryNonceStore({ maxEntries: 10_000 }),
    // The sandbox's TPM and token are software, and its credentials say so.
    acceptSoftware: true,
    ...(delegation === undefined ? {} : { delegation }),
  });
  app.use(agentAuth(verifier));
  app.post('/payments', (request, response) => {
    const { agent, profile, delegation: chain } = verifiedRequest(request);
    response.status(201).json({
      payer: agent.id,
      assurance: agent.assurance,
      profile,
      payment: verifiedJson(request),
      ...(chain === undefined ? {} : { onBehalfOf: chain.principal, links: chain.agents.length - 1 }),
    });
  });
  return {
    origin,
    close: () => {
      closeNow(server);
    },
  };
}

function closeNow(server: Server): void {
  server.closeAllConnections();
  server.close();
}
