/** `sign/jwt`: JWTs of a type that policy allows, speaking as the agent and as nobody else (RFC 7519). */
import { jwtAudience } from '../policy/typed-parameters.ts';
import { WPT_TYP } from '../wire/credential-claims.ts';
import { canonicalJson } from '../wire/jcs.ts';
import { thumbprintUri } from '../wire/jwk.ts';
import { joinJws, jwsSigningInput } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { parseStrictJson } from '../wire/strict-json.ts';
import type { JwtRequest } from '../wire/socket/signing.ts';
import { normaliseTyp } from '../wire/typ.ts';
import { issuedAtSeconds } from './daemon-time.ts';
import {
  agentIdentifiers,
  expirySeconds,
  freshNonce,
  propose,
  type Draft,
  type DraftContext,
} from './draft.ts';
import { checkClaimNames, checkTyp } from './jwt-rules.ts';
import { draftWorkloadProof } from './workload-proof.ts';

/** S4. */
const MAX_LIFETIME_SECONDS = 300;
const CLAIMS_LIMITS = { maxDepth: 16, maxOctets: 11_000 } as const;

type Claims = Readonly<Record<string, unknown>>;

/**
 * Header `{alg, kid, typ}` only. `iat`, `nbf`, `exp` and `jti` are the daemon's; a caller's `exp` may shorten
 * the life. `iss` and `sub` are the agent's SPIFFE ID unless the caller names another of its identifiers. A
 * Workload Proof Token has rules of its own.
 * @throws KeydError `type_reserved`, `claim_reserved`, `time_not_acceptable`, `malformed_request`, `malformed_json`
 */
export function draftJwt(context: DraftContext, request: JwtRequest): Draft<{ readonly jwt: string }> {
  if (normaliseTyp(request.typ) === WPT_TYP) return draftWorkloadProof(context, request);
  const typ = checkTyp(request.typ);
  checkClaimNames(request.claims);
  const times = jwtTimes(context, request.claims);
  const claims = {
    ...request.claims,
    iss: ownIdentifier(context, request.claims, 'iss'),
    sub: ownIdentifier(context, request.claims, 'sub'),
    iat: times.iat,
    nbf: times.iat,
    exp: times.exp,
    jti: freshNonce(context),
  };
  // What is signed here, every strict reader takes: no number that a double changes, no deep nesting.
  parseStrictJson(canonicalJson(claims), CLAIMS_LIMITS);
  const { kid, publicJwk } = context.agent;
  const signingInput = jwsSigningInput({ alg: publicJwk.alg, typ, kid }, claims);
  return {
    proposal: propose(context, {
      parameters: { operation: 'jwt', typ, audience: jwtAudience(claims), claims },
      octets: { kind: 'message', octets: Buffer.from(signingInput, 'ascii') },
      binds: ['claims'],
      times: { issuedAtMs: times.iat * 1000, expiresAtMs: times.exp * 1000 },
    }),
    assemble: (signature) => ({ jwt: joinJws(signingInput, signature) }),
  };
}

function jwtTimes(context: DraftContext, claims: Claims): { readonly iat: number; readonly exp: number } {
  const iat = issuedAtSeconds(context.nowMs, claims['iat'], 'iat');
  issuedAtSeconds(context.nowMs, claims['nbf'], 'nbf');
  const latest = expirySeconds(context, MAX_LIFETIME_SECONDS);
  const wanted = claims['exp'];
  if (wanted === undefined) return { iat, exp: latest };
  if (typeof wanted !== 'number' || !Number.isSafeInteger(wanted) || wanted <= iat || wanted > latest) {
    throw new KeydError(
      'time_not_acceptable',
      `exp may only shorten the life: leave it out, or give a time in the next ${latest - iat} seconds`,
    );
  }
  return { iat, exp: wanted };
}

/** The agent's own name: the one asked for if it is one of its names, else the first it has. */
function ownIdentifier({ agent, identity }: DraftContext, claims: Claims, claim: 'iss' | 'sub'): string {
  const { spiffeId, aauthId } = agentIdentifiers(identity, agent.name);
  const own = [spiffeId, aauthId, thumbprintUri(agent.kid)].filter((id) => id !== null);
  const wanted = claims[claim];
  const found = wanted === undefined ? own[0] : own.find((id) => id === wanted);
  if (found === undefined) {
    throw new KeydError(
      'claim_reserved',
      `${claim} is the agent's: leave it out, or give one of ${own.join(', ')}`,
    );
  }
  return found;
}
