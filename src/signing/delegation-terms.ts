/** From what a caller asks for a sub-agent to the terms that its links repeat, no wider than its parent's. */
import { audience } from '../delegation/audience.ts';
import { makeLinkClaims, type DelegationToken } from '../delegation/claims.ts';
import {
  constraintType,
  constraints,
  constraintValue,
  isSameConstraint,
  unitOf,
  type Constraint,
} from '../delegation/constraint.ts';
import { narrowingFault } from '../delegation/narrowing.ts';
import { scope } from '../delegation/scope.ts';
import { array, object, parse } from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';
import type { DelegationRequest } from '../wire/socket/delegations.ts';
import type { DelegationTerms } from './delegation.ts';

export interface Budget {
  /** `USD.2`. */
  readonly unit: string;
  readonly amount: bigint;
  /** Its parent has no such bound, so that it comes out of nobody's balance. */
  readonly own: boolean;
}

/** What a sub-agent is given. */
export interface RequestedDelegation {
  readonly terms: DelegationTerms;
  /** What is taken from the parent's balance for it. */
  readonly budgets: readonly Budget[];
  /** Milliseconds since the epoch. */
  readonly endsAtMs: number;
}

/** The agent that delegates. */
export interface Delegator {
  /** The last token of its chain. */
  readonly token: DelegationToken;
  /** When its own authority ends for good, milliseconds since the epoch. */
  readonly endsAtMs: number;
}

/** Counted, not paid: who has no bound on calls may set one, while a budget comes out of a budget. */
const CALLS_KEY = 'calls';

const given = object({
  scopes: array(scope, { max: 64 }),
  aud: array(audience, { min: 1, max: 64 }),
  constraints,
});

/**
 * A constraint of the parent that the request leaves out is the child's as it stands, and a unit without a
 * budget is a budget of zero (S6); what the request says itself is taken or refused, never bent.
 * @throws KeydError `malformed_request`; `delegation_refused` with the first rule that is broken
 */
export function requestedDelegation(
  delegator: Delegator,
  request: DelegationRequest,
  nowMs: number,
): RequestedDelegation {
  const { token } = delegator;
  const {
    scopes,
    aud,
    constraints: asked,
  } = parse(given, {
    scopes: request.scopes,
    aud: request.aud,
    constraints: request.constraints,
  });
  const wanted = [...asked.filter((each) => !isCumulative(each)), ...budgetConstraints(request, asked)];
  const inherited = token.constraints
    .filter((bound) => !wanted.some((each) => isSameConstraint(bound, each)))
    .map((bound) => (isCumulative(bound) ? withAmount(bound, 0) : bound));
  const terms = {
    scopes,
    audiences: aud,
    constraints: [...inherited, ...wanted],
    maxDepth: request.maxDepth ?? token.claims.del_max_depth,
  };
  const endsAtMs = nowMs + request.expiresIn * 1000;
  const fault = narrowerFault(delegator, terms, endsAtMs, nowMs);
  if (fault !== undefined) throw new KeydError('delegation_refused', fault);
  return { terms, budgets: budgetsOf(terms.constraints, token.constraints), endsAtMs };
}

/**
 * The terms with so much more of a unit.
 * @throws KeydError `conflict` where they bound no such unit, `delegation_refused` where it is no whole number any more
 */
export function toppedUp(terms: DelegationTerms, unit: string, amount: bigint): DelegationTerms {
  const bound = terms.constraints.find((each) => isCumulative(each) && unitOf(each.key) === unit);
  if (bound === undefined) throw new KeydError('conflict', `this sub-agent was given no budget of ${unit}`);
  const total = BigInt(Number(constraintValue(bound))) + amount;
  if (total > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new KeydError('delegation_refused', 'so much can not be written in a link');
  }
  const raised = withAmount(bound, Number(total));
  return { ...terms, constraints: terms.constraints.map((each) => (each === bound ? raised : each)) };
}

/** What the ledger sets aside for a sub-agent on these terms. */
export function budgetsOf(terms: readonly Constraint[], above: readonly Constraint[]): readonly Budget[] {
  return terms.filter(isCumulative).flatMap((constraint) => {
    const unit = unitOf(constraint.key);
    const own = !above.some((bound) => isSameConstraint(bound, constraint));
    const amount = BigInt(Number(constraintValue(constraint)));
    return unit === undefined || amount === 0n ? [] : [{ unit, amount, own }];
  });
}

function narrowerFault(
  { token, endsAtMs: parentEndsAtMs }: Delegator,
  terms: DelegationTerms,
  endsAtMs: number,
  nowMs: number,
): string | undefined {
  const { claims } = token;
  const unheld = terms.constraints.find(
    (each) => isCumulative(each) && !token.constraints.some((bound) => isSameConstraint(bound, each)),
  );
  // The key of the child is not made yet, and no rule of narrowing reads it.
  const candidate = makeLinkClaims(token, {
    principal: claims.sub,
    clientId: `${claims.client_id}/x`,
    ...terms,
    issuedAtSeconds: Math.max(Math.floor(nowMs / 1000), claims.iat),
    expiresAtSeconds: claims.exp,
    jti: claims.jti,
    publicJwk: claims.cnf.jwk,
    depth: claims.del_depth + 1,
  });
  return (
    narrowingFault(claims, candidate) ??
    (endsAtMs > parentEndsAtMs ? 'it would end after the authority of its parent' : undefined) ??
    (unheld !== undefined && unheld.key !== CALLS_KEY && Number(constraintValue(unheld)) > 0
      ? `the parent has no budget for ${unheld.key}`
      : undefined)
  );
}

/** Bounds that a ledger keeps: of all that a link and everything below it may do over its life. */
function isCumulative(constraint: Constraint): boolean {
  const type = constraintType(constraint);
  return type === 'max_subtree' || type === 'max_lifetime';
}

/** Budgets of the request as constraints, whether they were given as one or the other. */
function budgetConstraints(
  { budget = [] }: DelegationRequest,
  asked: readonly Constraint[],
): readonly Constraint[] {
  const merged = asked.filter(isCumulative);
  for (const { unit, decimals, amount } of budget) {
    const constraint: Constraint =
      unit === CALLS_KEY && decimals === 0
        ? { key: CALLS_KEY, max_lifetime: amount }
        : { key: `spend.${unit}.${decimals}`, max_subtree: amount };
    if (merged.some((each) => isSameConstraint(each, constraint))) {
      throw new KeydError('malformed_request', `the budget for ${constraint.key} is given twice`);
    }
    merged.push(constraint);
  }
  return merged;
}

function withAmount(constraint: Constraint, amount: number): Constraint {
  return { key: constraint.key, [constraintType(constraint)]: amount };
}
