/** A link of a delegation chain (`agentkey-delegation+jwt`), for the parent's key to sign. */
import { randomUUID } from 'node:crypto';
import {
  delegationSigningInput,
  makeLinkClaims,
  MAX_LINK_SECONDS,
  type DelegationToken,
} from '../delegation/claims.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { joinJws } from '../wire/jws.ts';
import type { DelegationTerms, StatusReference } from './delegation.ts';
import { budgetsOf } from './delegation-terms.ts';
import { propose, type Draft, type DraftContext } from './draft.ts';

export interface LinkRequest {
  /** The last token of the parent's chain. */
  readonly parent: DelegationToken;
  /** The sub-agent's name, and its last segment. */
  readonly name: string;
  readonly segment: string;
  readonly publicJwk: PublicJwk;
  readonly terms: DelegationTerms;
  /** When the delegation ends for good, milliseconds since the epoch. */
  readonly endsAtMs: number;
  readonly status: StatusReference | undefined;
}

/** A link lives an hour at most, and ends before what it hangs on does (S18). */
export function draftLink(context: DraftContext, request: LinkRequest): Draft<{ readonly link: string }> {
  const { parent, terms, status } = request;
  const { claims } = parent;
  const { publicJwk, kid } = context.agent;
  const nowSeconds = Math.floor(context.nowMs / 1000);
  // The issuer's clock may be ahead of this one, and nothing is older than its parent.
  const iat = Math.max(nowSeconds, claims.iat);
  const exp = Math.min(nowSeconds + MAX_LINK_SECONDS, Math.floor(request.endsAtMs / 1000), claims.exp);
  const link = makeLinkClaims(parent, {
    principal: claims.sub,
    clientId: `${claims.client_id}/${request.segment}`,
    ...terms,
    issuedAtSeconds: iat,
    expiresAtSeconds: exp,
    jti: randomUUID(),
    publicJwk: request.publicJwk,
    depth: claims.del_depth + 1,
    status: status === undefined ? undefined : { status_list: status },
  });
  const signingInput = delegationSigningInput(publicJwk.alg, kid, link);
  return {
    proposal: propose(context, {
      parameters: {
        operation: 'delegate',
        name: request.name,
        scopes: terms.scopes,
        audiences: terms.audiences,
        expiresInSeconds: Math.max(0, Math.floor((request.endsAtMs - context.nowMs) / 1000)),
        budgets: budgetsOf(terms.constraints, parent.constraints),
      },
      octets: { kind: 'message', octets: Buffer.from(signingInput, 'ascii') },
      binds: ['claims'],
      times: { issuedAtMs: iat * 1000, expiresAtMs: exp * 1000 },
    }),
    assemble: (signature) => ({ link: joinJws(signingInput, signature) }),
  };
}
