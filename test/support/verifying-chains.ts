/** A verifier of requests with a chain of delegation, and a payment that its chain allows. */
import type { Constraint } from '../../src/delegation/constraint.ts';
import {
  createVerifier,
  MemoryNonceStore,
  trustedKey,
  type DelegationRules,
  type ReceivedRequest,
  type VerifierDelegation,
  type VerifierOptions,
} from '../../src/verify/index.ts';
import { CHAIN_ISSUER, CHAIN_NOW, signedChain, TRUST_DOMAIN, type TokenTerms } from './delegation-chain.ts';
import { refusalOfAsync } from './refusal.ts';
import { signedRequest, testKey, type SignOptions } from './signed-request.ts';

export const nowSeconds = CHAIN_NOW;
export const clock = (): number => nowSeconds * 1000;
export const grantKey = testKey();
export const witIssuer = testKey();
export const rootKey = testKey();
export const leafKey = testKey();
export const stranger = testKey();
const PAY = 'https://api.example/v1/pay?to=bob';

/** DT₀ and a link that lets its holder pay bob up to 3000. */
export const PAYMENT: readonly Constraint[] = [
  { key: 'operation', in: ['http-message'] },
  { key: 'method', in: ['POST'] },
  { key: 'path', prefix: '/v1/pay' },
  { key: 'media_type', in: ['application/json'] },
  { key: 'query:to', equals: 'bob' },
  { key: 'body:/payee', equals: 'bob' },
  { key: 'body:/amount', max: '3000.00' },
];
export const LEAF: TokenTerms = {
  scopes: ['pay.invoice'],
  aud: ['https://api.example'],
  constraints: PAYMENT,
};

export const tokensOf = (leaf: TokenTerms = LEAF, root: TokenTerms = {}): readonly string[] =>
  signedChain([root, leaf], { grantKey, keys: [rootKey, leafKey] }).tokens;
export const chainOf = (leaf: TokenTerms = LEAF, root: TokenTerms = {}): string =>
  tokensOf(leaf, root).join('~');

export const ROOTS: DelegationRules['roots'] = [
  { issuer: 'https://other.example', trustDomain: 'other.example', keys: [trustedKey(stranger.jwk)] },
  {
    issuer: CHAIN_ISSUER,
    trustDomain: TRUST_DOMAIN,
    keys: [trustedKey(grantKey.jwk)],
    acceptDevelopment: true,
  },
];

export function verifier(
  delegation: Partial<VerifierDelegation> = {},
  options: Partial<VerifierOptions> = {},
) {
  return createVerifier({
    origins: ['https://api.example'],
    profiles: ['rfc9421'],
    credentials: {
      wit: { trustDomain: TRUST_DOMAIN, keys: [trustedKey(witIssuer.jwk)] },
      pinnedKey: (keyid) => {
        const key = [leafKey, rootKey, stranger].find(({ thumbprint }) => thumbprint === keyid);
        return key === undefined ? undefined : { id: 'pinned', jwk: key.jwk, assurance: 'hw-key' };
      },
    },
    nonceStore: new MemoryNonceStore({ maxEntries: 100, clock }),
    clock,
    delegation: { roots: ROOTS, ...delegation },
    ...options,
  });
}

interface PaymentOptions extends Partial<SignOptions> {
  readonly chain?: string | null;
  readonly content?: string;
}

export function payment({
  chain = chainOf(),
  content = '{"payee":"bob","amount":2999.99}',
  ...more
}: PaymentOptions = {}): ReceivedRequest {
  return signedRequest({
    profile: 'rfc9421',
    key: leafKey,
    nowSeconds,
    targetUri: PAY,
    body: Buffer.from(content),
    ...more,
    headers: [
      ...(more.headers ?? [['Content-Type', 'application/json']]),
      ...(chain === null ? [] : [['Agentkeyd-Delegation', chain] as const]),
    ],
  });
}

export async function refusal(
  request: ReceivedRequest,
  delegation: Partial<VerifierDelegation> = {},
  options: Partial<VerifierOptions> = {},
): Promise<string> {
  return refusalOfAsync(() => verifier(delegation, options).verify(request));
}
