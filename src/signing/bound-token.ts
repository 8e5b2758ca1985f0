/**
 * Tokens that a caller brings to have them covered by a signature: they must be bound to the signing key (S7).
 * Their signatures are not verified here, because only the server knows whom it trusts; what counts is that
 * the daemon lends its key to no token that was made for another.
 */
import { parsePublicJwk, jwkThumbprint } from '../wire/jwk.ts';
import { decodeJwt, type DecodedJwt } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { normaliseTyp } from '../wire/typ.ts';
import { fieldValues, trimOws, type FieldLine } from '../wire/field-lines.ts';
import { WIT_HEADER, WIT_TYP } from '../wire/credential-claims.ts';

/** Fields that carry a key-bound token by definition, and its type. */
const TOKEN_FIELDS: readonly (readonly [field: string, typ: string])[] = [
  [WIT_HEADER, WIT_TYP],
  ['oauth-client-attestation', 'oauth-client-attestation+jwt'],
];

/** The type of a bound token by authorization scheme (RFC 9068 §2.1; AAuth). */
const AUTHORIZATION_TYPES: ReadonlyMap<string, string> = new Map([
  ['dpop', 'at+jwt'],
  ['bearer', 'at+jwt'],
  ['aauth', 'aa-auth+jwt'],
]);

const MAX_TOKEN_LENGTH = 16_384;

export type KeyBinding = 'this-key' | 'another-key' | 'none';

/** What a compact JWT says about the key it is bound to (RFC 7800 `cnf`, RFC 9449 `jkt`). */
export function keyBinding(jwt: DecodedJwt, kid: string): KeyBinding {
  const cnf = jwt.claims['cnf'];
  if (typeof cnf !== 'object' || cnf === null || Array.isArray(cnf)) return 'none';
  const { jkt, jwk } = cnf as Readonly<Record<string, unknown>>;
  if (jkt === undefined && jwk === undefined) return 'none';
  const jktFits = jkt === undefined || jkt === kid;
  const jwkFits = jwk === undefined || thumbprintOf(jwk) === kid;
  return jktFits && jwkFits ? 'this-key' : 'another-key';
}

/**
 * Checks every token field of a request, and reports whether the authorization header's token is bound.
 * An opaque token counts as bound only under the scheme AAuth of the profile `aauth`, whose servers give it
 * to the key they have just verified; any other is for policy to allow by origin.
 * @throws KeydError `token_not_bound`
 */
export function checkCarriedTokens(
  headers: readonly FieldLine[],
  kid: string,
  profile: string,
): { readonly scheme: string; readonly bound: boolean } | undefined {
  for (const [field, typ] of TOKEN_FIELDS) {
    for (const value of fieldValues(headers, field)) {
      const jwt = asJwt(trimOws(value));
      if (jwt === undefined || typOf(jwt) !== typ || keyBinding(jwt, kid) !== 'this-key') {
        refuse(`${field} must hold one token of the type ${typ} that is bound to this agent's key`);
      }
    }
  }
  for (const proof of fieldValues(headers, 'dpop')) checkProof(trimOws(proof), kid);
  const [authorization] = fieldValues(headers, 'authorization');
  return authorization === undefined ? undefined : checkAuthorization(trimOws(authorization), kid, profile);
}

/**
 * A DPoP access token: where it can be read, it must be bound to this key. An opaque one is left to the
 * server, which compares its binding with the key in the proof (RFC 9449 §7.1).
 * @throws KeydError `token_not_bound`
 */
export function checkAccessToken(token: string, kid: string): void {
  const jwt = asJwt(token);
  if (jwt !== undefined && keyBinding(jwt, kid) !== 'this-key') {
    refuse("the access token is not bound to this agent's key (cnf.jkt, RFC 9449 §6.1)");
  }
}

function checkAuthorization(value: string, kid: string, profile: string) {
  const [, scheme = '', token = ''] = /^([^ ]+) +(.*)$/.exec(value) ?? [];
  const name = scheme.toLowerCase();
  const jwt = asJwt(token);
  if (jwt === undefined) return { scheme: name, bound: name === 'aauth' && profile === 'aauth' };
  const binding = keyBinding(jwt, kid);
  if (binding === 'another-key') refuse('the authorization header holds a token bound to another key');
  const expected = AUTHORIZATION_TYPES.get(name);
  return { scheme: name, bound: binding === 'this-key' && expected !== undefined && typOf(jwt) === expected };
}

/** A proof beside the request must be by the same key: a mixture proves nothing. */
function checkProof(value: string, kid: string): void {
  const jwt = asJwt(value);
  if (jwt === undefined || typOf(jwt) !== 'dpop+jwt' || thumbprintOf(jwt.header['jwk']) !== kid) {
    refuse("the dpop header must hold one proof by this agent's key");
  }
}

function asJwt(token: string): DecodedJwt | undefined {
  try {
    return decodeJwt(token, { maxOctets: MAX_TOKEN_LENGTH });
  } catch (thrown) {
    if (thrown instanceof KeydError) return undefined;
    throw thrown;
  }
}

function typOf(jwt: DecodedJwt): string | undefined {
  try {
    return normaliseTyp(jwt.header['typ']);
  } catch (thrown) {
    if (thrown instanceof KeydError) return undefined;
    throw thrown;
  }
}

/** Undefined for what is no public key of ours; a key without `alg` gets the one its type has. */
function thumbprintOf(jwk: unknown): string | undefined {
  if (typeof jwk !== 'object' || jwk === null) return undefined;
  for (const alg of ['ES256', 'ES384', 'Ed25519', 'RS256']) {
    try {
      return jwkThumbprint(parsePublicJwk({ ...jwk, alg }));
    } catch (thrown) {
      if (!(thrown instanceof KeydError)) throw thrown;
    }
  }
  return undefined;
}

function refuse(reason: string): never {
  throw new KeydError('token_not_bound', reason);
}
