/**
 * What a chain of delegations lets the sender of this very request do: steps 0 to 8 of docs/delegation.md, in
 * that order, and the first that fails decides. Steps 0 to 5 are the chain's own; 6 binds it to the request, 7
 * asks whether it was revoked, and 8 holds the request against it.
 */
import { actionFault, type ActionFacts } from '../delegation/action.ts';
import { verifyChain, type Chain } from '../delegation/chain.ts';
import { MAX_CHAIN_TOKENS, parseDelegationToken } from '../delegation/claims.ts';
import { constraintType, type Constraint } from '../delegation/constraint.ts';
import { bodyReader, queryReader } from '../delegation/request-facts.ts';
import { fieldValues, trimOws, type FieldLine } from '../wire/field-lines.ts';
import { asKeydError, KeydError, type ErrorCode } from '../wire/problem.ts';
import { possessionFault, type ProvenRequest } from './possession.ts';
import type { StatusLists } from './status-lists.ts';
import type { TrustedKey } from './trusted-keys.ts';

/** Whose root grants count (S2): all of it from configuration, none of it learned from a token. */
export interface DelegationRoot {
  /** `iss` of DT₀. */
  readonly issuer: string;
  /** Agents are `spiffe://<trustDomain>/agent/...`. */
  readonly trustDomain: string;
  /** The issuer's grant keys; keys for other purposes do not belong here (S14). */
  readonly keys: readonly TrustedKey[];
  /** Takes grants that no person approved with a passkey; for sandboxes and demonstrations only. */
  readonly acceptDevelopment?: true;
}

export interface DelegationRules {
  readonly roots: readonly DelegationRoot[];
  /** What the request needs; default none. */
  readonly requiredScopes?: readonly string[] | ((request: ProvenRequest) => readonly string[]);
  /**
   * What the request costs here, by unit (`USD.2`), in smallest parts; empty where it is free. Without it, a chain
   * that bounds what one action may spend allows none.
   */
  readonly costs?: (request: ProvenRequest) => ReadonlyMap<string, bigint>;
  /**
   * Where revocation is learned of. Without it a token that names a status list is refused. `not-checked` takes
   * it all the same: what is revoked then ends when its link does, an hour later at most (S18).
   */
  readonly status?: StatusLists | 'not-checked';
  /** Tokens of a chain at most; default 10. */
  readonly maxTokens?: number;
}

export interface DelegationClock {
  /** Unix time, seconds. */
  readonly nowSeconds: number;
  readonly clockSkewSeconds: number;
}

/** What was verified. */
export interface VerifiedDelegation {
  /** On whose behalf: the same in every token. */
  readonly principal: string;
  /** `jti` of the root grant: one for all agents of a host that one approval covers. */
  readonly grantId: string;
  /** No person approved the grant with a passkey. */
  readonly development: boolean;
  /** Hash of what a person approved with a passkey. */
  readonly approvalHash: string | undefined;
  /** From the root agent to the one that sent the request. */
  readonly agents: readonly DelegatedAgent[];
  /** What the last link gives. */
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
  readonly constraints: readonly Constraint[];
  /** Those of them that bound a sum over many requests: one request can not show whether they hold. */
  readonly cumulative: readonly Constraint[];
  /** Earliest end, Unix time, seconds. */
  readonly expiresAtSeconds: number;
}

export interface DelegatedAgent {
  /** SPIFFE ID. */
  readonly clientId: string;
  /** Of its key: RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string;
  readonly jti: string;
}

const CUMULATIVE: ReadonlySet<string> = new Set(['max_subtree', 'max_lifetime']);

/**
 * Verifies the chain of one request (the value of `agentkeyd-delegation`: compact tokens joined by `~`). The
 * request's own proof must have been verified before.
 * @throws KeydError whose message begins with the step: `verification_failed`, `signature_invalid`; step 7
 *   `delegation_revoked`, `status_unavailable`; step 8 `authority_exceeded`
 */
export async function verifyDelegationChain(
  chain: string,
  request: ProvenRequest,
  rules: DelegationRules,
  clock: DelegationClock,
): Promise<VerifiedDelegation> {
  const verified = verifyTokens(chain, rules, clock);
  const unproven = possessionFault(chain, verified.leaf.claims, request);
  if (unproven !== undefined) fail(6, 'verification_failed', unproven);
  await checkStatus(verified, rules.status);
  const exceeded = actionFault(verified.leaf, actionFacts(request, rules));
  if (exceeded !== undefined) fail(8, 'authority_exceeded', exceeded);
  return describe(verified);
}

/** @throws KeydError `configuration_invalid` for rules by which no chain, or not one root, could be told */
export function checkDelegationRules({ roots }: DelegationRules): void {
  const refuse = (why: string): never => {
    throw new KeydError('configuration_invalid', `delegation.roots ${why}`);
  };
  if (roots.length === 0) refuse('is empty: no chain could be verified');
  if (roots.some(({ keys }) => keys.length === 0)) refuse('has a root without keys');
  if (new Set(roots.map(({ issuer }) => issuer)).size !== roots.length) refuse('names an issuer twice');
}

/** Steps 0 to 5. The unverified issuer of DT₀ only picks among pinned roots; the keys that count are theirs. */
function verifyTokens(chain: string, rules: DelegationRules, clock: DelegationClock): Chain {
  const { roots, maxTokens = MAX_CHAIN_TOKENS } = rules;
  // One more than is accepted, so that too long a header is not split into thousands.
  const tokens = chain.split('~', maxTokens + 1);
  const issuer = issuerOf(tokens[0] ?? '');
  const root = roots.find((candidate) => candidate.issuer === issuer);
  return verifyChain(tokens, {
    // With no root, as with an unknown one, step 1 fails, after what step 0 finds.
    grantKeys: root?.keys.map(({ jwk }) => jwk) ?? [],
    issuer: root?.issuer ?? '',
    trustDomain: root?.trustDomain ?? '',
    allowDevelopment: root?.acceptDevelopment === true,
    maxTokens,
    ...clock,
  });
}

function issuerOf(token: string): string | undefined {
  try {
    return parseDelegationToken(token, true).claims.iss;
  } catch (thrown) {
    if (thrown instanceof KeydError) return undefined;
    throw thrown;
  }
}

async function checkStatus({ tokens }: Chain, status: DelegationRules['status']): Promise<void> {
  if (status === 'not-checked') return;
  for (const { claims } of tokens) {
    const reference = claims.status?.status_list;
    if (reference === undefined) continue;
    if (status === undefined) {
      return fail(7, 'status_unavailable', 'a token names a status list, and none is configured here');
    }
    try {
      await status.check(reference);
    } catch (thrown) {
      const { code, message } = asKeydError(thrown);
      fail(7, code === 'delegation_revoked' ? code : 'status_unavailable', message, thrown);
    }
  }
}

/** Only what the proof binds: of what it does not, anybody on the way could have made anything (S3). */
function actionFacts(request: ProvenRequest, { costs, requiredScopes = [] }: DelegationRules): ActionFacts {
  const { body, headers, method, proof, target } = request;
  const common = {
    operation: proof.kind === 'wpt' ? 'jwt' : proof.kind,
    audiences: [target.origin],
    path: target.path,
    spends: costs?.(request),
    scopes: typeof requiredScopes === 'function' ? requiredScopes(request) : requiredScopes,
  };
  if (proof.kind === 'wpt') return common;
  if (proof.kind === 'dpop') return { ...common, method };
  const mediaType = mediaTypeOf(headers);
  const isEncoded = fieldValues(headers, 'content-encoding').length > 0;
  return {
    ...common,
    method,
    mediaType,
    query: queryReader(target),
    body: bodyReader({ mediaType, isEncoded, octets: body }),
  };
}

function mediaTypeOf(headers: readonly FieldLine[]): string | undefined {
  const [value, ...more] = fieldValues(headers, 'content-type');
  if (value === undefined || more.length > 0) return undefined;
  return trimOws(value.split(';', 1)[0] ?? '').toLowerCase();
}

function describe({ expiresAtSeconds, leaf, principal, root, tokens }: Chain): VerifiedDelegation {
  const { approval, jti } = root.claims;
  return {
    principal,
    grantId: jti,
    development: approval.kind === 'development',
    approvalHash: approval.hash,
    agents: tokens.map(({ claims }) => ({
      clientId: claims.client_id,
      thumbprint: claims.cnf.jkt,
      jti: claims.jti,
    })),
    scopes: leaf.scopes,
    audiences: leaf.claims.aud,
    constraints: leaf.constraints,
    cumulative: leaf.constraints.filter((constraint) => CUMULATIVE.has(constraintType(constraint))),
    expiresAtSeconds,
  };
}

function fail(step: number, code: ErrorCode, why: string, cause?: unknown): never {
  throw new KeydError(code, `delegation, step ${step}: ${why}`, { cause });
}
