/**
 * One link of a delegation chain: a JWT `agentkey-delegation+jwt` in which the holder of a key says what the
 * holder of another may do (draft-asor-wimse-agent-delegation-chain, signed by the delegator's key). DT₀, the
 * first, is the issuer's root grant; every other is signed by the key that the one before it confirms.
 */
import { parseAgentName, spiffeId } from '../wire/agent-name.ts';
import {
  array,
  integer,
  object,
  oneOf,
  optional,
  parse,
  refine,
  text,
  type Infer,
  type Shape,
} from '../wire/check.ts';
import { jwkThumbprint, parsePublicJwk, thumbprintUri, type PublicJwk } from '../wire/jwk.ts';
import { decodeJwt, jwsSigningInput } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { audience } from './audience.ts';
import { constraints, type Constraint } from './constraint.ts';
import { parentHash } from './parent-hash.ts';
import { scope } from './scope.ts';

/** `verify` accepts no other type, and no endpoint signs this one for a caller (S1). */
export const DELEGATION_TYP = 'agentkey-delegation+jwt';
export const DELEGATION_DETAIL = 'agent_delegation';

/** Of one token, characters. */
export const MAX_TOKEN_LENGTH = 8192;
/** Tokens of a chain: DT₀ and nine below it. */
export const MAX_CHAIN_TOKENS = 10;
/** Links live at most an hour: what is revoked is gone by then, whoever knows it (S18). */
export const MAX_LINK_SECONDS = 3600;

const time = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const depth = integer({ min: 0, max: 64 });
const visible = { pattern: /^[\x21-\x7e]+$/, what: 'visible ASCII' } as const;
const hash = text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ });

/** Nothing beside the key itself: a `kid` or `use` of its own would be a second word on what it is. */
const publicJwk: Shape<PublicJwk> = (value, path, faults) => {
  try {
    const jwk = parsePublicJwk(value, path);
    const more = Object.keys(value as object).find((name) => !Object.hasOwn(jwk, name));
    if (more !== undefined) faults.push(`${path} has the member ${more}, which a key does not need`);
    return jwk;
  } catch (thrown) {
    if (!(thrown instanceof KeydError)) throw thrown;
    faults.push(thrown.message);
    return undefined as never;
  }
};

const confirmation = refine(object({ jwk: publicJwk, jkt: hash }), ({ jwk, jkt }) =>
  jwkThumbprint(jwk) === jkt ? undefined : 'has a jkt that is not the thumbprint of its jwk',
);

const detail = object({
  type: oneOf([DELEGATION_DETAIL]),
  scopes: array(scope, { max: 64 }),
  constraints,
});

/** Where the status of this token is told (draft-ietf-oauth-status-list §6). */
export const statusReference = object({
  status_list: object({
    idx: integer({ min: 0, max: 2 ** 31 }),
    uri: text({ maxLength: 512, pattern: /^https:\/\/[\x21-\x7e]+$/ }),
  }),
});

const common = {
  iss: text({ maxLength: 512, ...visible }),
  /** The principal: the same in every token of the chain. */
  sub: text({ maxLength: 255, ...visible }),
  /** SPIFFE ID of the agent that is given this. */
  client_id: text({ maxLength: 2048, pattern: /^spiffe:\/\/[\x21-\x7e]+$/ }),
  aud: array(audience, { min: 1, max: 64 }),
  iat: time,
  exp: time,
  jti: text({ maxLength: 36, pattern: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, what: 'a UUID' }),
  cnf: confirmation,
  del_depth: depth,
  del_max_depth: depth,
  authorization_details: array(detail, { min: 1, max: 1 }),
  status: optional(statusReference),
} as const;

/** DT₀. `approval` says how a person allowed it: `hash` is of what they approved with a passkey (S2). */
export const rootClaims = object({
  ...common,
  approval: refine(
    object({ kind: oneOf(['development', 'passkey']), hash: optional(hash) }),
    ({ kind, hash: given }) =>
      (kind === 'passkey') === (given !== undefined)
        ? undefined
        : 'has a hash exactly where a passkey approved it',
  ),
});
export type RootClaims = Infer<typeof rootClaims>;

export const linkClaims = object({ ...common, par_hash: hash });
export type LinkClaims = Infer<typeof linkClaims>;

export type DelegationClaims = RootClaims | LinkClaims;

/** A token taken apart; its signature is not verified yet. */
export interface DelegationToken {
  readonly compact: string;
  readonly signingInput: string;
  readonly signature: Uint8Array;
  readonly header: { readonly alg: string; readonly kid: string };
  readonly claims: DelegationClaims;
  readonly scopes: readonly string[];
  readonly constraints: readonly Constraint[];
}

/**
 * Takes a compact token apart, strictly: known members only, header exactly `alg kid typ`, claims in canonical
 * JSON octet by octet, one detail, a `cnf.jkt` that is its key's.
 * @param isRoot whether it stands first in its chain
 * @throws KeydError `malformed_jws`
 */
export function parseDelegationToken(compact: string, isRoot: boolean): DelegationToken {
  const {
    header,
    claims: given,
    signature,
    signingInput,
  } = decodeJwt(compact, { maxOctets: MAX_TOKEN_LENGTH });
  const { alg, kid, typ, ...more } = header as Readonly<Record<string, unknown>>;
  if (typ !== DELEGATION_TYP) malformed(`its typ is not ${DELEGATION_TYP}`);
  if (typeof alg !== 'string' || typeof kid !== 'string' || Object.keys(more).length > 0) {
    malformed('its header must have alg, kid and typ, and nothing else');
  }
  if (jwsSigningInput(header, given) !== signingInput) {
    malformed('its header and claims are not in canonical form (RFC 8785)');
  }
  const claims = parse<DelegationClaims>(isRoot ? rootClaims : linkClaims, given, 'malformed_jws');
  const [only] = claims.authorization_details;
  if (only === undefined) return malformed('it has no authorization detail');
  return {
    compact,
    signingInput,
    signature,
    header: { alg, kid },
    claims,
    scopes: only.scopes,
    constraints: only.constraints,
  };
}

/** What one link gives, in the words of the protocol. */
export interface LinkTerms {
  readonly principal: string;
  /** SPIFFE ID. */
  readonly clientId: string;
  readonly audiences: readonly string[];
  readonly scopes: readonly string[];
  readonly constraints: readonly Constraint[];
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number;
  readonly jti: string;
  /** The key it is given to. */
  readonly publicJwk: PublicJwk;
  readonly depth: number;
  readonly maxDepth: number;
  readonly status?: Infer<typeof statusReference> | undefined;
}

/** DT₀ as the issuer signs it. */
export function makeRootClaims(
  issuer: string,
  terms: LinkTerms,
  approval: RootClaims['approval'],
): RootClaims {
  return parse(rootClaims, { ...commonClaims(issuer, terms), approval }, 'internal');
}

/** A link as the key of `parent` signs it. */
export function makeLinkClaims(parent: DelegationToken, terms: LinkTerms): LinkClaims {
  const issuer = thumbprintUri(parent.claims.cnf.jkt);
  return parse(linkClaims, { ...commonClaims(issuer, terms), par_hash: parentHash(parent) }, 'internal');
}

/** What is signed: `kid` is the thumbprint of the key that signs. */
export function delegationSigningInput(alg: string, kid: string, claims: DelegationClaims): string {
  return jwsSigningInput({ alg, kid, typ: DELEGATION_TYP }, claims);
}

function commonClaims(issuer: string, terms: LinkTerms): Readonly<Record<string, unknown>> {
  return {
    iss: issuer,
    sub: terms.principal,
    client_id: terms.clientId,
    aud: terms.audiences,
    iat: terms.issuedAtSeconds,
    exp: terms.expiresAtSeconds,
    jti: terms.jti,
    cnf: { jwk: terms.publicJwk, jkt: jwkThumbprint(terms.publicJwk) },
    del_depth: terms.depth,
    del_max_depth: terms.maxDepth,
    authorization_details: [
      { type: DELEGATION_DETAIL, scopes: terms.scopes, constraints: terms.constraints },
    ],
    ...(terms.status === undefined ? {} : { status: terms.status }),
  };
}

/** Trust domain, host and agent name of a SPIFFE ID such as ours (DECISIONS 6); undefined for any other. */
export function readClientId(
  clientId: string,
): { readonly trustDomain: string; readonly host: string; readonly agent: string } | undefined {
  const match = /^spiffe:\/\/([^/]+)\/agent\/([^/]+)\/(.+)$/.exec(clientId);
  const [, trustDomain, host, path] = match ?? [];
  if (trustDomain === undefined || host === undefined || path === undefined) return undefined;
  try {
    const name = parseAgentName(path.split('/').join('+'));
    // One agent has one spelling: a "+" in the path would be a second.
    return spiffeId(trustDomain, host, name) === clientId
      ? { trustDomain, host, agent: name.text }
      : undefined;
  } catch (thrown) {
    if (thrown instanceof KeydError) return undefined;
    throw thrown;
  }
}

function malformed(why: string): never {
  throw new KeydError('malformed_jws', `a delegation token is malformed: ${why}`);
}
