/**
 * Verification of a chain, in the order of docs/delegation.md: each step assumes the ones before it, and the
 * first that fails decides. Offline: everything but the status lists is in the tokens and the pinned grant key.
 */
import { timingSafeEqual } from 'node:crypto';
import { jwkThumbprint, thumbprintUri, type PublicJwk } from '../wire/jwk.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { verifySignature } from '../wire/public-key.ts';
import {
  MAX_CHAIN_TOKENS,
  MAX_LINK_SECONDS,
  parseDelegationToken,
  readClientId,
  type DelegationClaims,
  type DelegationToken,
  type RootClaims,
} from './claims.ts';
import { authorityFault, lineageFault, reachFault } from './narrowing.ts';
import { parentHash } from './parent-hash.ts';

/** Whose grants count, and which of them. */
export interface ChainRoot {
  /** Keys that sign DT₀ and nothing else, pinned by configuration (S2). */
  readonly grantKeys: readonly PublicJwk[];
  /** `iss` of DT₀. */
  readonly issuer: string;
  readonly trustDomain: string;
  /** Whether a grant that no person approved with a passkey counts. */
  readonly allowDevelopment: boolean;
}

export interface ChainRules extends ChainRoot {
  /** Unix time, seconds. */
  readonly nowSeconds: number;
  readonly clockSkewSeconds: number;
  readonly maxTokens?: number;
}

/** A verified chain, DT₀ first. */
export interface Chain {
  readonly tokens: readonly DelegationToken[];
  readonly root: DelegationToken & { readonly claims: RootClaims };
  readonly leaf: DelegationToken;
  readonly principal: string;
  /** Earliest end, Unix time, seconds. */
  readonly expiresAtSeconds: number;
}

/** DT₀ may live for thirty days: what it gives is revoked by its status. */
const MAX_ROOT_SECONDS = 30 * 86_400;

/**
 * Steps 0 to 5 of the verification: form, signatures, hashes, depth, narrowing, audience and time.
 * @throws KeydError `verification_failed`, `signature_invalid`; the message begins with the step
 */
export function verifyChain(compact: readonly string[], rules: ChainRules): Chain {
  const tokens = step(0, () => parseChain(compact, rules));
  const [root, ...links] = tokens;
  if (root === undefined || !('approval' in root.claims)) return fail(0, 'the chain has no root');
  step(1, () => {
    checkRoot(root, rules);
    forEachEdge(tokens, checkSignature);
  });
  step(2, () => {
    forEachEdge(tokens, checkParentHash);
  });
  step(3, () => {
    // With each link one below its parent, and never deeper than its parent may give, this fixes every depth.
    if (root.claims.del_depth !== 0) refuse(`DT₀ has the depth ${root.claims.del_depth}`);
    forEachEdge(tokens, refuseFault(lineageFault));
  });
  step(4, () => {
    forEachEdge(tokens, refuseFault(authorityFault));
  });
  step(5, () => {
    forEachEdge(tokens, refuseFault(reachFault));
    for (const token of tokens) checkTimes(token, token === root, rules);
  });
  return {
    tokens,
    root: root as Chain['root'],
    leaf: links.at(-1) ?? root,
    principal: root.claims.sub,
    expiresAtSeconds: Math.min(...tokens.map(({ claims }) => claims.exp)),
  };
}

function parseChain(
  compact: readonly string[],
  { maxTokens = MAX_CHAIN_TOKENS }: ChainRules,
): readonly DelegationToken[] {
  if (compact.length < 1 || compact.length > maxTokens) {
    return refuse(`a chain has 1 to ${maxTokens} tokens, not ${compact.length}`);
  }
  return compact.map((token, index) => parseDelegationToken(token, index === 0));
}

function checkRoot(
  root: DelegationToken,
  { grantKeys, issuer, trustDomain, allowDevelopment }: ChainRules,
): void {
  const key = grantKeys.find((candidate) => jwkThumbprint(candidate) === root.header.kid);
  if (key === undefined) return refuse('DT₀ is not signed by a pinned grant key');
  checkSignedBy(root, key);
  if (root.claims.iss !== issuer) refuse(`DT₀ is by ${root.claims.iss}, not by ${issuer}`);
  if (readClientId(root.claims.client_id)?.trustDomain !== trustDomain) {
    refuse(`DT₀ is for no agent of ${trustDomain}`);
  }
  if ('approval' in root.claims && root.claims.approval.kind === 'development' && !allowDevelopment) {
    refuse('DT₀ is a development grant: no person approved it with a passkey');
  }
}

function checkSignature(parent: DelegationToken, child: DelegationToken): void {
  const { jkt, jwk } = parent.claims.cnf;
  if (child.claims.iss !== thumbprintUri(jkt)) refuse('a link is not issued by the key above it');
  if (child.header.kid !== jkt) refuse('a link names another key than the one above it');
  checkSignedBy(child, jwk);
}

/** The algorithm is the key's; the header only has to agree. */
function checkSignedBy(token: DelegationToken, key: PublicJwk): void {
  if (token.header.alg !== key.alg)
    refuse(`a token says alg ${token.header.alg.slice(0, 16)}, its key signs with ${key.alg}`);
  if (!verifySignature(key, Buffer.from(token.signingInput, 'ascii'), token.signature)) {
    throw new KeydError('signature_invalid', 'the signature of a token does not verify');
  }
}

function checkParentHash(parent: DelegationToken, child: DelegationToken): void {
  const expected = Buffer.from(parentHash(parent), 'ascii');
  const given = Buffer.from('par_hash' in child.claims ? child.claims.par_hash : '', 'ascii');
  if (expected.length !== given.length || !timingSafeEqual(expected, given)) {
    refuse('a link belongs to another parent: its par_hash differs');
  }
}

function checkTimes({ claims }: DelegationToken, isRoot: boolean, rules: ChainRules): void {
  const longest = isRoot ? MAX_ROOT_SECONDS : MAX_LINK_SECONDS;
  if (claims.exp <= claims.iat || claims.exp - claims.iat > longest) {
    refuse(`a token has a life outside 1 to ${longest} seconds`);
  }
  if (claims.iat > rules.nowSeconds + rules.clockSkewSeconds) refuse('a token was issued in the future');
  if (claims.exp <= rules.nowSeconds - rules.clockSkewSeconds) refuse('a token has expired');
}

function forEachEdge(
  tokens: readonly DelegationToken[],
  check: (parent: DelegationToken, child: DelegationToken) => void,
): void {
  for (const [index, parent] of tokens.entries()) {
    const child = tokens[index + 1];
    if (child !== undefined) check(parent, child);
  }
}

/** A check that refuses what `faultOf` finds between two tokens. */
function refuseFault(
  faultOf: (parent: DelegationClaims, child: DelegationClaims) => string | undefined,
): (parent: DelegationToken, child: DelegationToken) => void {
  return (parent, child) => {
    const fault = faultOf(parent.claims, child.claims);
    if (fault !== undefined) refuse(fault);
  };
}

/** Runs one step; what it throws says which it was. */
function step<T>(number: number, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    const { code, message } = asKeydError(thrown);
    return fail(number, message, code === 'signature_invalid' ? code : 'verification_failed', thrown);
  }
}

function refuse(why: string): never {
  throw new KeydError('verification_failed', why);
}

function fail(
  number: number,
  why: string,
  code: 'verification_failed' | 'signature_invalid' = 'verification_failed',
  cause?: unknown,
): never {
  throw new KeydError(code, `delegation, step ${number}: ${why}`, { cause });
}
