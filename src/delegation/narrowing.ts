/** The rule of delegation: authority only narrows, in every member. */
import { parseAgentName } from '../wire/agent-name.ts';
import { audiencesCover } from './audience.ts';
import { readClientId, type DelegationClaims } from './claims.ts';
import { constraintCovers, constraintType, isSameConstraint, type Constraint } from './constraint.ts';
import { scopesCover } from './scope.ts';

/**
 * The first rule that a child breaks, in words, or undefined where it is narrower than its parent or equal.
 * Cumulative bounds are compared edge by edge; that siblings do not add up to more is the ledger's to see.
 */
export function narrowingFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  return lineageFault(parent, child) ?? authorityFault(parent, child) ?? reachFault(parent, child);
}

/** Step 3 of the verification: depth, principal and name. */
export function lineageFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  return (
    depthFault(parent, child) ??
    (child.sub === parent.sub ? undefined : `the principal is ${child.sub}, and ${parent.sub} above it`) ??
    nameFault(parent.client_id, child.client_id)
  );
}

/** Step 4: scopes and constraints. */
export function authorityFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  return (
    scopeFault(parent, child) ?? constraintFault(detailOf(parent).constraints, detailOf(child).constraints)
  );
}

/** Step 5: for whom and how long. */
export function reachFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  return audienceFault(parent, child) ?? timeFault(parent, child);
}

function depthFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  if (child.del_depth !== parent.del_depth + 1) {
    return `the depth is ${child.del_depth} below ${parent.del_depth}`;
  }
  if (child.del_max_depth > parent.del_max_depth) {
    return `the greatest depth ${child.del_max_depth} is more than the parent’s ${parent.del_max_depth}`;
  }
  return child.del_depth > parent.del_max_depth
    ? `the depth ${child.del_depth} is beyond the greatest that the parent may give, ${parent.del_max_depth}`
    : undefined;
}

/** A child is named below its parent, by one segment more. */
function nameFault(parentId: string, childId: string): string | undefined {
  const parent = readClientId(parentId);
  const child = readClientId(childId);
  if (parent === undefined || child === undefined) return 'a client_id is no SPIFFE ID of an agent';
  const isBelow =
    child.trustDomain === parent.trustDomain &&
    child.host === parent.host &&
    child.agent.startsWith(`${parent.agent}+`) &&
    parseAgentName(child.agent).depth === parseAgentName(parent.agent).depth + 1;
  return isBelow ? undefined : `${childId} is no name directly below ${parentId}`;
}

function scopeFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  const { scopes } = detailOf(parent);
  const wider = detailOf(child).scopes.find((scope) => !scopesCover(scopes, scope));
  return wider === undefined ? undefined : `the scope ${wider} is not covered by the parent’s`;
}

function constraintFault(parent: readonly Constraint[], child: readonly Constraint[]): string | undefined {
  for (const bound of parent) {
    const name = `${bound.key} ${constraintType(bound)}`;
    const same = child.find((candidate) => isSameConstraint(bound, candidate));
    // What is left out would be allowed: that is wider, not inherited.
    if (same === undefined) return `the parent’s constraint ${name} is missing`;
    if (!constraintCovers(bound, same)) return `the constraint ${name} is wider than the parent’s`;
  }
  return undefined;
}

function audienceFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  const wider = child.aud.find((audience) => !audiencesCover(parent.aud, audience));
  return wider === undefined ? undefined : `the audience ${wider} is not among the parent’s`;
}

function timeFault(parent: DelegationClaims, child: DelegationClaims): string | undefined {
  if (child.iat < parent.iat) return 'it was issued before its parent';
  if (child.exp > parent.exp) return 'it ends after its parent';
  return undefined;
}

function detailOf({ authorization_details: [detail] }: DelegationClaims): {
  readonly scopes: readonly string[];
  readonly constraints: readonly Constraint[];
} {
  return detail ?? { scopes: [], constraints: [] };
}
