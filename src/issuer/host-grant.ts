/** `[host.grant]` of hosts.toml: what an operator gives a host's agents in their principal's name. */
import { audience } from '../delegation/audience.ts';
import { constraints, type Constraint } from '../delegation/constraint.ts';
import { scope } from '../delegation/scope.ts';
import { array, boolean, integer, object, optional, parse, text, type Infer } from '../wire/check.ts';
import { canonicalJson } from '../wire/jcs.ts';
import { asKeydError } from '../wire/problem.ts';

/** DT₀ lives at most so long, whatever a record says. */
const MAX_LIFETIME_SECONDS = 30 * 86_400;
const DEFAULT_LIFETIME_SECONDS = 86_400;
/** Sub-agents below a root agent; a chain has ten tokens. */
const MAX_DEPTH = 9;
const DEFAULT_DEPTH = 1;
/** What a record says of it, canonical JSON: the token around it, and every link that repeats it, has 8 KiB. */
const MAX_AUTHORITY_OCTETS = 4096;

/** A ceiling for a budget: an amount of units of 10^-decimals, whole, as text. */
export const budgetTable = object({
  unit: text({ maxLength: 32, pattern: /^[A-Za-z][A-Za-z0-9]*$/, what: 'letters and digits' }),
  decimals: integer({ min: 0, max: 15 }),
  amount: text({ maxLength: 15, pattern: /^(?:0|[1-9]\d*)$/, what: 'a whole number as text' }),
});

export const grantTable = object({
  scopes: array(scope, { min: 1, max: 64 }),
  audiences: array(audience, { min: 1, max: 64 }),
  constraints: optional(constraints),
  max_depth: optional(integer({ min: 0, max: MAX_DEPTH })),
  lifetime_seconds: optional(integer({ min: 60, max: MAX_LIFETIME_SECONDS })),
  /** Whether DT₀ names a status list, so that it can end before it expires; verifiers must then read the list. */
  status: optional(boolean),
});

type BudgetTables = readonly Infer<typeof budgetTable>[];
type GrantTable = Infer<typeof grantTable>;

/** What every agent of the host may do at most, all of them together where an amount is bounded. */
export interface HostGrant {
  readonly scopes: readonly string[];
  /** Origins of resource servers, or `*`. */
  readonly audiences: readonly string[];
  readonly constraints: readonly Constraint[];
  /** How far below a root agent sub-agents may be. */
  readonly maxDepth: number;
  readonly lifetimeSeconds: number;
  /** Whether DT₀ has a status. */
  readonly status: boolean;
}

/** The grant of a record; its budgets are ceilings of the whole grant (`max_subtree`). */
export function hostGrant(grant: GrantTable, budgets: BudgetTables): HostGrant {
  return {
    scopes: grant.scopes,
    audiences: grant.audiences,
    constraints: allConstraints(grant, budgets),
    maxDepth: grant.max_depth ?? DEFAULT_DEPTH,
    lifetimeSeconds: grant.lifetime_seconds ?? DEFAULT_LIFETIME_SECONDS,
    status: grant.status ?? false,
  };
}

/** Why grant and budgets of a record do not go together, or undefined. */
export function grantFault(grant: GrantTable, budgets: BudgetTables): string | undefined {
  const all = allConstraints(grant, budgets);
  try {
    parse(constraints, all);
  } catch (thrown) {
    return `has budgets and constraints that do not go together: ${asKeydError(thrown).message}`;
  }
  const { scopes, audiences } = grant;
  const { length } = Buffer.from(canonicalJson({ scopes, audiences, constraints: all }));
  return length > MAX_AUTHORITY_OCTETS
    ? `has a grant of ${length} octets, and a token has room for ${MAX_AUTHORITY_OCTETS}`
    : undefined;
}

function allConstraints({ constraints: own = [] }: GrantTable, budgets: BudgetTables): readonly Constraint[] {
  const ceilings = budgets.map(({ unit, decimals, amount }): Constraint => ({
    key: `spend.${unit}.${decimals}`,
    max_subtree: Number(amount),
  }));
  return [...own, ...ceilings];
}
