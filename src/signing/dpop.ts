/** `sign/dpop`: proofs of possession at the application layer (RFC 9449 §4.2). */
import { createHash } from 'node:crypto';
import { dpopBinds } from '../policy/typed-parameters.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { joinJws, jwsSigningInput } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import type { DpopRequest } from '../wire/socket/signing.ts';
import { parseTargetUri } from '../wire/target-uri.ts';
import { checkAccessToken } from './bound-token.ts';
import { freshNonce, propose, type Draft, type DraftContext } from './draft.ts';
import { refuseIssuer } from './issuer-authority.ts';

/**
 * A proof for one method and URI. It binds neither query nor headers nor body (S3).
 * @throws KeydError `invalid_target_uri`, `issuer_authority`, `token_not_bound`, `malformed_request`
 */
export function draftDpop(context: DraftContext, request: DpopRequest): Draft<{ readonly proof: string }> {
  const target = parseTargetUri(request.htu);
  if (target.query !== undefined) {
    throw new KeydError('invalid_target_uri', 'htu is the URI without its query (RFC 9449 §4.2)');
  }
  refuseIssuer(target, context.issuerAuthorities);
  const ath = accessTokenHash(request, context.agent.kid);
  const iat = Math.floor(context.nowMs / 1000);
  const { publicJwk } = context.agent;
  const header = { typ: 'dpop+jwt', alg: publicJwk.alg, jwk: keyMembers(publicJwk) };
  const claims = {
    jti: freshNonce(context),
    iat,
    htm: request.htm,
    htu: target.canonical,
    ...(ath === undefined ? {} : { ath }),
    ...(request.nonce === undefined ? {} : { nonce: request.nonce }),
  };
  const signingInput = jwsSigningInput(header, claims);
  return {
    proposal: propose(context, {
      parameters: {
        operation: 'dpop',
        method: request.htm,
        target,
        accessTokenHash: ath,
        challenge: request.nonce,
      },
      octets: { kind: 'message', octets: Buffer.from(signingInput, 'ascii') },
      binds: dpopBinds(ath),
      // RFC 9449 §11.1: how long a proof is good is the server's to say.
      times: { issuedAtMs: iat * 1000, expiresAtMs: undefined },
    }),
    assemble: (signature) => ({ proof: joinJws(signingInput, signature) }),
  };
}

function accessTokenHash(request: DpopRequest, kid: string): string | undefined {
  if (request.accessToken === undefined) return request.ath;
  checkAccessToken(request.accessToken, kid);
  const hash = encodeBase64url(createHash('sha256').update(request.accessToken, 'ascii').digest());
  if (request.ath !== undefined && request.ath !== hash) {
    throw new KeydError('malformed_request', 'ath is not the hash of accessToken (RFC 9449 §4.2)');
  }
  return hash;
}

/** The key as RFC 7638 counts it: `alg` is in the header already. */
function keyMembers(jwk: PublicJwk): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(jwk).filter(([name]) => name !== 'alg'));
}
