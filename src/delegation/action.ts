/** One action held against a chain: what its links allow of the parameters, and what it would cost. */
import { ExactNumber } from '../wire/exact-number.ts';
import { audiencesCover } from './audience.ts';
import type { DelegationToken } from './claims.ts';
import {
  constraintType,
  constraintValue,
  decimalAtMost,
  pathHasPrefix,
  unitOf,
  type Constraint,
} from './constraint.ts';
import { scopesCover } from './scope.ts';

/** A value of a body or query: a number as its text, so that nothing is rounded. */
export type ActionValue =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'number'; readonly text: string }
  | { readonly kind: 'boolean'; readonly value: boolean }
  /** There is nothing, or nothing that can be judged. */
  | { readonly kind: 'none' };

/** What is known of an action. A parameter that the action does not have is undefined, and no constraint holds of it. */
export interface ActionFacts {
  /** `http-message`, `dpop`, `jwt`, `csr`, `delegate`. */
  readonly operation: string;
  /** Origins it is for; empty where it is for nobody in particular. */
  readonly audiences: readonly string[];
  readonly method?: string | undefined;
  readonly path?: string | undefined;
  readonly mediaType?: string | undefined;
  /** Members of the query by name: all values, in order. */
  readonly query?: ((name: string) => readonly string[]) | undefined;
  /** A member of the JSON body by JSON Pointer. */
  readonly body?: ((pointer: string) => ActionValue) | undefined;
  /** What is spent, by unit, in smallest parts; empty for what is free, undefined where nobody knows. */
  readonly spends?: ReadonlyMap<string, bigint> | undefined;
  /** Scopes it needs. */
  readonly scopes: readonly string[];
}

/** Kept by a ledger, never by one look at one request. */
const CUMULATIVE: ReadonlySet<string> = new Set(['max_subtree', 'max_lifetime']);

/**
 * The first thing of this action that the last link of a chain does not allow, in words, or undefined. Links only
 * narrow, so that the last one says it all. Cumulative constraints are not looked at.
 */
export function actionFault(leaf: DelegationToken, action: ActionFacts): string | undefined {
  const uncovered = action.scopes.find((scope) => !scopesCover(leaf.scopes, scope));
  if (uncovered !== undefined) return `the chain does not give the scope ${uncovered}`;
  const foreign = action.audiences.find((audience) => !audiencesCover(leaf.claims.aud, audience));
  if (foreign !== undefined) return `the chain is not for ${foreign}`;
  const broken = leaf.constraints.find((constraint) => !holds(constraint, action));
  return broken === undefined
    ? undefined
    : `the chain’s constraint ${broken.key} ${constraintType(broken)} does not hold`;
}

/** Parameters that constraints read, in the words of `BoundParameter` of the policy room. */
export function parametersRead(constraints: readonly Constraint[]): ReadonlySet<string> {
  const read = new Set<string>();
  for (const { key } of constraints) {
    if (key === 'method' || key === 'path') read.add(key);
    if (key === 'media_type') read.add('header:content-type');
    if (key.startsWith('query:')) read.add('query');
    if (key.startsWith('body:')) read.add('body');
  }
  return read;
}

function holds(constraint: Constraint, action: ActionFacts): boolean {
  const type = constraintType(constraint);
  if (CUMULATIVE.has(type)) return true;
  const { key } = constraint;
  const unit = unitOf(key);
  if (unit !== undefined) return spendHolds(constraint, unit, action);
  switch (key) {
    case 'operation':
      return isIn(constraint, action.operation);
    case 'method':
      return isIn(constraint, action.method);
    case 'media_type':
      return isIn(constraint, action.mediaType);
    case 'path':
      if (action.path === undefined) return false;
      return type === 'prefix'
        ? pathHasPrefix(action.path, String(constraintValue(constraint)))
        : isIn(constraint, action.path);
    default:
      return key.startsWith('query:')
        ? queryHolds(constraint, action.query?.(key.slice('query:'.length)))
        : bodyHolds(constraint, action.body?.(key.slice('body:'.length)));
  }
}

/** A price that is not known is not within any bound; one that is known and has no such unit is none of it. */
function spendHolds(constraint: Constraint, unit: string, { spends }: ActionFacts): boolean {
  if (spends === undefined) return false;
  return (spends.get(unit) ?? 0n) <= BigInt(Number(constraintValue(constraint)));
}

/** Exactly one value, or a server might read another one. */
function queryHolds(constraint: Constraint, values: readonly string[] | undefined): boolean {
  const [value, ...more] = values ?? [];
  if (value === undefined || more.length > 0) return false;
  return matches(constraint, { kind: 'text', text: value });
}

function bodyHolds(constraint: Constraint, value: ActionValue | undefined): boolean {
  return value !== undefined && matches(constraint, value);
}

function matches(constraint: Constraint, value: ActionValue): boolean {
  const wanted = constraintValue(constraint);
  switch (constraintType(constraint)) {
    case 'equals':
      return isSame(wanted, value);
    case 'in':
      return Array.isArray(wanted) && wanted.some((each: unknown) => isSame(each, value));
    case 'max':
      return value.kind === 'number' && decimalAtMost(value.text, String(wanted));
    default:
      return false;
  }
}

/** A string never matches a number (S7). */
function isSame(wanted: unknown, value: ActionValue): boolean {
  switch (value.kind) {
    case 'text':
      return wanted === value.text;
    case 'number':
      return typeof wanted === 'number' && isSameNumber(value.text, String(wanted));
    case 'boolean':
      return wanted === value.value;
    case 'none':
      return false;
  }
}

function isSameNumber(left: string, right: string): boolean {
  const other = ExactNumber.from(right);
  return other !== undefined && ExactNumber.from(left)?.equals(other) === true;
}

function isIn(constraint: Constraint, value: string | undefined): boolean {
  const wanted = constraintValue(constraint);
  return value !== undefined && Array.isArray(wanted) && wanted.some((each: unknown) => each === value);
}
