/** Keys and rules that chains of delegation are judged by, and what a refusal names. */
import { verifyChain, type ChainRules } from '../../src/delegation/chain.ts';
import { CHAIN_NOW, chainRoot, signedChain, type TestChain, type TokenTerms } from './delegation-chain.ts';
import { refusalOf } from './refusal.ts';
import { testKey } from './signed-request.ts';

export const grantKey = testKey();
export const keys = [testKey(), testKey('Ed25519'), testKey('ES384'), testKey(), testKey(), testKey()];
export const stranger = testKey();
export const rules: ChainRules = { ...chainRoot(grantKey), nowSeconds: CHAIN_NOW, clockSkewSeconds: 5 };
/** Life of a link that fits below a DT₀ of 3010 seconds. */
export const LINK: TokenTerms = {};

export const chainOf = (...terms: readonly TokenTerms[]): TestChain => signedChain(terms, { grantKey, keys });
export const refusal = (tokens: readonly string[], more: Partial<ChainRules> = {}): string =>
  refusalOf(() => verifyChain(tokens, { ...rules, ...more }));
export const refusalOfTerms = (...terms: readonly TokenTerms[]): string => refusal(chainOf(...terms).tokens);

export const replaced = (tokens: readonly string[], index: number, token: string): readonly string[] =>
  tokens.map((other, position) => (position === index ? token : other));
export const partsOf = (token: string | undefined): readonly [string, string, string] => {
  const [header = '', payload = '', signature = ''] = (token ?? '').split('.');
  return [header, payload, signature];
};
