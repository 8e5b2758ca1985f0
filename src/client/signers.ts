/** Signer objects that other libraries take. */
import { jwkHttpSignatureName } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import type { AgentHandle } from './agent-handle.ts';

/** The key that `http-message-signatures` wants. */
export interface MessageSigningKey {
  readonly id: string;
  readonly alg: string;
  sign(data: Buffer): Promise<Buffer>;
}

/**
 * A key for `http-message-signatures` and libraries like it. They build the signature base themselves, so
 * this signs raw octets, and the daemon refuses (`raw_signing_off`) unless policy names raw signing for
 * this agent. Prefer `agent.fetch` or `agent.signHttpMessage`, which need no such permission.
 * @throws KeydError `unsupported_algorithm` where RFC 9421 has no name for the key's algorithm
 */
export function rawMessageSigner(agent: AgentHandle): MessageSigningKey {
  const alg = jwkHttpSignatureName(agent.publicJwk);
  if (alg === undefined) {
    throw new KeydError('unsupported_algorithm', `RFC 9421 has no name for ${agent.publicJwk.alg}`);
  }
  return {
    id: agent.kid,
    alg,
    sign: async (data) => Buffer.from(await agent.signRaw(data)),
  };
}

/** A JOSE-style signer: `typ` and claims in, compact JWS out. */
export interface JwtSigner {
  readonly alg: string;
  readonly kid: string;
  sign(claims: Readonly<Record<string, unknown>>): Promise<string>;
}

/** Signs JWTs of one type with this agent's key; typed, so it needs no raw permission. */
export function jwtSigner(agent: AgentHandle, typ: string): JwtSigner {
  return {
    alg: agent.publicJwk.alg,
    kid: agent.kid,
    sign: async (claims) => agent.signJwt(typ, claims),
  };
}
