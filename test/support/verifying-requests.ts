/** A verifier that knows one agent by each kind of credential, and requests of that agent. */
import { MemoryNonceStore } from '../../src/verify/nonce-store.ts';
import type { ReceivedRequest } from '../../src/verify/received-request.ts';
import { trustedKey } from '../../src/verify/trusted-keys.ts';
import { createVerifier, type Verifier, type VerifierOptions } from '../../src/verify/verifier.ts';
import { codeOfAsync } from './code-of.ts';
import { agentToken, signatureKeyField, signedRequest, testKey, type SignOptions } from './signed-request.ts';

export const nowSeconds = 1_800_000_000;
export const clock = (): number => nowSeconds * 1000;
export const agent = testKey();
export const provider = testKey('Ed25519');
export const witIssuer = testKey();
export const body = Buffer.from('{"amount":3000,"payee":"bob"}');
export const json = ['Content-Type', 'application/json'] as const;

/** What has issued the agent's credentials. */
export const issuers: VerifierOptions['credentials'] = {
  agentTokens: {
    issuers: [{ issuer: 'https://ap.example', domain: 'ap.example', keys: [trustedKey(provider.jwk)] }],
  },
  wit: { trustDomain: 'td.example', keys: [trustedKey(witIssuer.jwk)] },
};

export function verifier(options: Partial<VerifierOptions> = {}): Verifier {
  return createVerifier({
    origins: ['https://api.example'],
    profiles: ['rfc9421', 'aauth'],
    credentials: {
      ...issuers,
      pinnedKey: (keyid) =>
        keyid === agent.thumbprint
          ? { id: 'pinned-planner', jwk: agent.jwk, assurance: 'hw-key' }
          : undefined,
    },
    nonceStore: new MemoryNonceStore({ maxEntries: 100, clock }),
    clock,
    ...options,
  });
}

export const rfc9421 = (options: Partial<SignOptions> = {}): ReceivedRequest =>
  signedRequest({ profile: 'rfc9421', key: agent, nowSeconds, body, headers: [json], ...options });

export const aauth = (
  options: Partial<SignOptions> = {},
  token = agentToken(provider, agent, { nowSeconds }),
): ReceivedRequest =>
  signedRequest({
    profile: 'aauth',
    key: agent,
    nowSeconds,
    body,
    headers: [json, signatureKeyField(token)],
    ...options,
  });

export const refusal = (
  request: ReceivedRequest,
  options: Partial<VerifierOptions> = {},
): Promise<string | undefined> => codeOfAsync(() => verifier(options).verify(request));
