/** DT₀, the root of every chain: what the issuer's grant key says a root agent may do (DECISIONS 18, S2, S6). */
import { createHash } from 'node:crypto';
import { DELEGATION_TYP, makeRootClaims, type RootClaims } from '../../delegation/claims.ts';
import { canonicalJson } from '../../wire/jcs.ts';
import type { StatusReference } from '../../wire/issuance/status.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import { KeydError } from '../../wire/problem.ts';
import type { IssuerConfig } from '../config.ts';
import type { HostGrant } from '../host-grant.ts';
import type { ApprovedHost } from '../host-registry.ts';
import type { SigningKeys } from '../signing-keys.ts';

/** Sets its ids apart from every other hash. */
const ID_CONTEXT = 'agentkeyd root grant 1';

/** The grant of one host, and how it was allowed. */
export interface RootGrant {
  /** `jti` of every DT₀ of the host: budgets and counts belong to it. */
  readonly id: string;
  readonly principal: string;
  readonly terms: HostGrant;
  readonly approval: RootClaims['approval'];
}

/** The agent that DT₀ is for. */
export interface GrantedAgent {
  readonly spiffeId: string;
  /** Its present key. */
  readonly publicJwk: PublicJwk;
  readonly issuedAtSeconds: number;
  /** Where the end of this key's grant will be told; undefined where the record wants none. */
  readonly status: StatusReference | undefined;
}

/**
 * What this host's agents are granted now, or undefined: no record gives anything, or nobody approved what it
 * gives. An operator's record alone counts only where the configuration says so.
 */
export function grantInForce(
  config: Pick<IssuerConfig, 'issuer' | 'developmentGrants'>,
  host: Pick<ApprovedHost, 'ekHash' | 'principal' | 'grant'>,
): RootGrant | undefined {
  if (host.grant === undefined || !config.developmentGrants) return undefined;
  const approval = { kind: 'development' } as const;
  return {
    id: grantId(config.issuer, host, approval),
    principal: host.principal,
    terms: host.grant,
    approval,
  };
}

/** Rejects with the key backend's codes. */
export async function issueRootGrant(
  keys: Pick<SigningKeys, 'signJwt'>,
  issuer: string,
  grant: RootGrant,
  agent: GrantedAgent,
): Promise<string> {
  const { terms } = grant;
  const claims = makeRootClaims(
    issuer,
    {
      principal: grant.principal,
      clientId: agent.spiffeId,
      audiences: terms.audiences,
      scopes: terms.scopes,
      constraints: terms.constraints,
      issuedAtSeconds: agent.issuedAtSeconds,
      expiresAtSeconds: agent.issuedAtSeconds + terms.lifetimeSeconds,
      jti: grant.id,
      publicJwk: agent.publicJwk,
      depth: 0,
      maxDepth: terms.maxDepth,
      status: agent.status === undefined ? undefined : { status_list: agent.status },
    },
    grant.approval,
  );
  return keys.signJwt('grant', DELEGATION_TYP, claims);
}

/**
 * A UUID (RFC 9562 §5.8, version 8) of TPM, principal and approval: the same after rotation, retirement and new
 * enrolment, whatever the terms have become, so that nothing of these begins a budget anew.
 */
function grantId(
  issuer: string,
  { ekHash, principal }: Pick<ApprovedHost, 'ekHash' | 'principal'>,
  approval: RootClaims['approval'],
): string {
  const digest = createHash('sha256')
    .update(canonicalJson({ context: ID_CONTEXT, issuer, ekHash, principal, approval }))
    .digest();
  const octets = digest.subarray(0, 16);
  octets.writeUInt8((octets.readUInt8(6) & 0x0f) | 0x80, 6);
  octets.writeUInt8((octets.readUInt8(8) & 0x3f) | 0x80, 8);
  const parts = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/.exec(octets.toString('hex'));
  if (parts === null) throw new KeydError('internal', 'a hash of another length');
  return parts.slice(1).join('-');
}
