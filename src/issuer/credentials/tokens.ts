/** The two tokens that name an agent and its key: WIT (WIMSE, SPIFFE WIT-SVID) and AAuth agent token. */
import { hash, randomUUID } from 'node:crypto';
import {
  AGENT_TOKEN_DWK,
  AGENT_TOKEN_TYP,
  ATTESTATION_CLAIM,
  WIT_TYP,
  type AttestationClaim,
} from '../../wire/credential-claims.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import type { SigningKeys } from '../signing-keys.ts';

export interface TokenRequest {
  readonly issuer: string;
  /** SPIFFE ID in a WIT, AAuth identifier in an agent token. */
  readonly subject: string;
  readonly publicJwk: PublicJwk;
  readonly attestation: AttestationClaim;
  /** Of a sub-agent's agent token: the AAuth identifier of the agent above it. */
  readonly parentAgent?: string | undefined;
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number;
}

export interface IssuedToken {
  /** Compact JWS. */
  readonly token: string;
  readonly jti: string;
}

/** A WIT: no `aud`, never a bearer token; it is worth something only beside a proof by the key in `cnf`. */
export async function issueWit(keys: SigningKeys, request: TokenRequest): Promise<IssuedToken> {
  const jti = randomUUID();
  const token = await keys.signJwt('wit', WIT_TYP, commonClaims(request, jti));
  return { token, jti };
}

/** An AAuth agent token; verifiers find the key through `<iss>/.well-known/aauth-agent.json` (`dwk`). */
export async function issueAgentToken(keys: SigningKeys, request: TokenRequest): Promise<IssuedToken> {
  const jti = randomUUID();
  const { parentAgent } = request;
  const claims = {
    ...commonClaims(request, jti),
    dwk: AGENT_TOKEN_DWK,
    ...(parentAgent === undefined ? {} : { parent_agent: parentAgent }),
  };
  const token = await keys.signJwt('agentToken', AGENT_TOKEN_TYP, claims);
  return { token, jti };
}

/** SHA-256 of a compact JWS, base64url. */
export function tokenHash(token: string): string {
  return hash('sha256', token, 'base64url');
}

function commonClaims(request: TokenRequest, jti: string): Record<string, unknown> {
  return {
    iss: request.issuer,
    sub: request.subject,
    jti,
    iat: request.issuedAtSeconds,
    exp: request.expiresAtSeconds,
    // `alg` is in it: PublicJwk always has one.
    cnf: { jwk: request.publicJwk },
    [ATTESTATION_CLAIM]: request.attestation,
  };
}
