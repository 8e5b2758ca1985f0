/** Keys and names of one workload and the issuer that its verifier trusts. */
import { createHash } from 'node:crypto';
import { trustedKey } from '../../src/verify/index.ts';
import { CHAIN_NOW, TRUST_DOMAIN } from './delegation-chain.ts';
import { testKey } from './signed-request.ts';

export const nowSeconds = CHAIN_NOW;
export const clock = (): number => nowSeconds * 1000;
export const agent = testKey();
export const witIssuer = testKey();
export const stranger = testKey();
export const trust = { trustDomain: TRUST_DOMAIN, keys: [trustedKey(witIssuer.jwk)] };
export const body = Buffer.from('{"amount":3000}');
export const AUD = 'https://api.example/v1/pay';
export const hashOf = (text: string): string => createHash('sha256').update(text).digest('base64url');
