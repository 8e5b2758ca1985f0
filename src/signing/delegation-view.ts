import { decodeJwt } from '../wire/jws.ts';
import type { DelegationView } from '../wire/socket/agents.ts';
import type { Delegation } from './delegation.ts';

/** A delegation as the socket shows it. */
export function delegationView({
  chain,
  terms,
  createdAtMs,
  endsAtMs,
  ephemeral,
}: Delegation): DelegationView {
  return {
    scopes: terms.scopes,
    aud: terms.audiences,
    constraints: terms.constraints,
    maxDepth: terms.maxDepth,
    createdAt: isoTime(createdAtMs),
    expiresAt: isoTime(endsAtMs),
    linkExpiresAt: isoTime(Math.min(endsAtMs, ...chain.map(expiryMs))),
    ephemeral,
  };
}

function expiryMs(token: string): number {
  return Number(decodeJwt(token).claims['exp']) * 1000;
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
