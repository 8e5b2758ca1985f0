/** Workload Proof Tokens (draft-ietf-wimse-wpt): that the sender holds the key which its WIT confirms. */
import { createHash } from 'node:crypto';
import { encodeBase64url } from '../wire/base64url.ts';
import { dictionary, object, optional, parse, text } from '../wire/check.ts';
import { WPT_TYP } from '../wire/credential-claims.ts';
import { joinJws, jwsSigningInput } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { DELEGATION_CHAIN_HEADER, wimseAudience } from '../wire/profiles.ts';
import type { JwtRequest } from '../wire/socket/signing.ts';
import { parseTargetUri } from '../wire/target-uri.ts';
import { expirySeconds, freshNonce, propose, type Draft, type DraftContext } from './draft.ts';
import { refuseIssuer } from './issuer-authority.ts';

/** S4: as long as an HTTP message signature. */
const MAX_LIFETIME_SECONDS = 60;
/** Other tokens that one request carries. */
const MAX_OTHER_TOKENS = 16;

const hash = text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/, what: 'a SHA-256 hash in base64url' });
/** What the caller says; `exp`, `jti` and `wth` are the daemon's. */
const callerClaims = object({
  /** Target URI of the request, without its query. */
  aud: text({ maxLength: 8192 }),
  /** Hashes of the access token, the transaction token, and the tokens in other fields by lower-case name. */
  ath: optional(hash),
  tth: optional(hash),
  oth: optional(dictionary(/^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/, hash, { max: MAX_OTHER_TOKENS })),
});

/** The WIT of the agent's present key. @throws KeydError `credential_unavailable` */
export function workloadIdentityToken({ credentials }: DraftContext): string {
  const wit = credentials?.wit;
  if (wit !== undefined) return wit;
  throw new KeydError('credential_unavailable', 'this agent has no WIT; see `agentkey credential show`');
}

/**
 * A proof for one URI and this WIT: header `{alg, typ}`, claims `aud exp jti wth`, and `ath tth oth` as given. It
 * binds neither method nor query nor headers nor body (S3). A sub-agent's chain is always among its `oth`.
 * @throws KeydError `malformed_request`, `invalid_target_uri`, `issuer_authority`, `claim_reserved`,
 *   `credential_unavailable`
 */
export function draftWorkloadProof(
  context: DraftContext,
  request: JwtRequest,
): Draft<{ readonly jwt: string }> {
  const { aud, ath, oth = {}, tth } = parse(callerClaims, request.claims);
  const target = parseTargetUri(aud);
  if (wimseAudience(target) !== aud) {
    throw new KeydError('invalid_target_uri', 'aud is the URI without its query (draft-ietf-wimse-wpt §2)');
  }
  refuseIssuer(target, context.issuerAuthorities);
  const others = otherTokens(context, oth);
  const exp = expirySeconds(context, MAX_LIFETIME_SECONDS);
  const claims = {
    aud,
    exp,
    jti: freshNonce(context),
    wth: sha256(workloadIdentityToken(context)),
    ...(ath === undefined ? {} : { ath }),
    ...(tth === undefined ? {} : { tth }),
    ...(Object.keys(others).length === 0 ? {} : { oth: others }),
  };
  const signingInput = jwsSigningInput({ alg: context.agent.publicJwk.alg, typ: WPT_TYP }, claims);
  return {
    proposal: propose(context, {
      parameters: { operation: 'jwt', typ: WPT_TYP, audience: [aud], claims },
      octets: { kind: 'message', octets: Buffer.from(signingInput, 'ascii') },
      binds: [
        'claims',
        'scheme',
        'authority',
        'path',
        ...(ath === undefined ? [] : ['access-token' as const]),
      ],
      times: { issuedAtMs: context.nowMs, expiresAtMs: exp * 1000 },
    }),
    assemble: (signature) => ({ jwt: joinJws(signingInput, signature) }),
  };
}

function otherTokens(
  { chain }: DraftContext,
  given: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (Object.hasOwn(given, DELEGATION_CHAIN_HEADER)) {
    throw new KeydError('claim_reserved', `the hash of ${DELEGATION_CHAIN_HEADER} is the daemon's to set`);
  }
  return chain === undefined || chain.tokens.length < 2
    ? given
    : { ...given, [DELEGATION_CHAIN_HEADER]: sha256(chain.tokens.join('~')) };
}

function sha256(token: string): string {
  return encodeBase64url(createHash('sha256').update(token, 'ascii').digest());
}
