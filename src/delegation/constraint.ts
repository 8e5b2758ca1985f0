/**
 * Constraints: what a link allows of an action's parameters and of what it may cost, one table per fact. An
 * unknown key or type is malformed: what is not understood can not be enforced.
 */
import { array, type Shape } from '../wire/check.ts';
import { ExactNumber } from '../wire/exact-number.ts';
import { KeydError } from '../wire/problem.ts';
import { parseTargetUri } from '../wire/target-uri.ts';

/** `{key, <type>: value}`, exactly one type. */
export type Constraint = { readonly key: string } & Readonly<
  Partial<Record<ConstraintType, ConstraintValue>>
>;
export type ConstraintValue = string | number | boolean | readonly (string | number | boolean)[];

/** What a value may look like, and when one allows nothing that another does not. */
interface Form {
  isValue(value: unknown): boolean;
  covers(parent: ConstraintValue, child: ConstraintValue): boolean;
}

const MAX_LIST = 64;

const isText = (value: unknown): boolean =>
  typeof value === 'string' && value.length <= 1024 && value.isWellFormed();
const isScalar = (value: unknown): boolean =>
  isText(value) || typeof value === 'boolean' || Number.isSafeInteger(value);
const isPath = (value: unknown): boolean => typeof value === 'string' && isCanonicalPath(value);

/** A whole number, of smallest parts or of calls. */
const count: Form = {
  isValue: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  covers: (parent, child) => Number(child) <= Number(parent),
};
/** A JSON number of zero or more, written as text so that it stays exact. */
const decimal: Form = {
  isValue: (value) => typeof value === 'string' && value.length <= 20 && decimalAtMost(value, value),
  covers: (parent, child) => decimalAtMost(String(child), String(parent)),
};
const equalTo = (isItem: (value: unknown) => boolean): Form => ({
  isValue: isItem,
  covers: (parent, child) => parent === child,
});
const oneOf = (isItem: (value: unknown) => boolean): Form => ({
  isValue: (value) =>
    Array.isArray(value) && value.length >= 1 && value.length <= MAX_LIST && value.every(isItem),
  covers: (parent, child) =>
    Array.isArray(parent) && Array.isArray(child) && child.every((item) => parent.includes(item as never)),
});
const pathPrefix: Form = {
  isValue: isPath,
  covers: (parent, child) => pathHasPrefix(String(child), String(parent)),
};

export const CONSTRAINT_TYPES = ['max', 'max_subtree', 'max_lifetime', 'equals', 'in', 'prefix'] as const;
export type ConstraintType = (typeof CONSTRAINT_TYPES)[number];

/** Which types each kind of key takes, and in which form. `max_subtree` and `max_lifetime` are kept by a ledger. */
const KEYS: readonly {
  readonly pattern: RegExp;
  readonly types: Readonly<Partial<Record<ConstraintType, Form>>>;
}[] = [
  {
    pattern: /^spend\.[A-Za-z][A-Za-z0-9]{0,31}\.(?:[0-9]|1[0-5])$/,
    types: { max: count, max_subtree: count },
  },
  { pattern: /^calls$/, types: { max_lifetime: count } },
  { pattern: /^(?:operation|method|media_type)$/, types: { in: oneOf(isText) } },
  { pattern: /^path$/, types: { prefix: pathPrefix, in: oneOf(isPath) } },
  { pattern: /^query:[\x21-\x7e]{1,128}$/, types: { equals: equalTo(isText), in: oneOf(isText) } },
  // A JSON Pointer (RFC 6901 §3): a lone "~" would be a second spelling of the same member.
  {
    pattern: /^body:\/(?:[^\p{Cc}~]|~[01])*$/u,
    types: { equals: equalTo(isScalar), in: oneOf(isScalar), max: decimal },
  },
];
const MAX_KEY_LENGTH = 256;
const MAX_CONSTRAINTS = 64;

/** One constraint, checked. */
const constraint: Shape<Constraint> = (value, path, faults) => {
  const fault = constraintFault(value);
  if (fault !== undefined) faults.push(`${path} ${fault}`);
  return value as Constraint;
};

/** Each key and type at most once: of two, which one counts would be a guess. */
export const constraints: Shape<readonly Constraint[]> = (value, path, faults) => {
  const before = faults.length;
  const list = array(constraint, { max: MAX_CONSTRAINTS })(value, path, faults);
  if (faults.length > before) return [];
  const seen = new Set<string>();
  for (const each of list) {
    const name = `${each.key} ${constraintType(each)}`;
    if (seen.has(name)) faults.push(`${path} has ${name} twice`);
    seen.add(name);
  }
  return list;
};

export function constraintType(constraint: Constraint): ConstraintType {
  return Object.keys(constraint).find((name) => name !== 'key') as ConstraintType;
}

export function constraintValue(constraint: Constraint): ConstraintValue {
  return constraint[constraintType(constraint)] as ConstraintValue;
}

/** Whether `child` is of the same key and type as `parent`. */
export function isSameConstraint(parent: Constraint, child: Constraint): boolean {
  return parent.key === child.key && constraintType(parent) === constraintType(child);
}

/** Whether `child` allows nothing that `parent` does not. Of another key or type it says nothing about it. */
export function constraintCovers(parent: Constraint, child: Constraint): boolean {
  if (!isSameConstraint(parent, child)) return false;
  return formOf(parent)?.covers(constraintValue(parent), constraintValue(child)) === true;
}

/** The unit `USD.2` of a `spend.USD.2`, `calls.0` of `calls`; undefined for every other key. */
export function unitOf(key: string): string | undefined {
  if (key === 'calls') return 'calls.0';
  return key.startsWith('spend.') ? key.slice('spend.'.length) : undefined;
}

/** `/a` is a prefix of `/a` and `/a/b`, not of `/ab`; `/a/` of what is below it. */
export function pathHasPrefix(path: string, prefix: string): boolean {
  if (path === prefix) return true;
  return path.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`);
}

/** As it stands in a request (wire/target-uri.ts): a path of another spelling would never be met. */
function isCanonicalPath(path: string): boolean {
  if (path.length > 1024 || !path.startsWith('/') || path.includes('?')) return false;
  try {
    return parseTargetUri(`https://path.example${path}`).path === path;
  } catch (thrown) {
    if (thrown instanceof KeydError) return false;
    throw thrown;
  }
}

/** More than any amount has; what has more is refused. */
const DECIMAL_PLACES = 18;

/** Whether `value`, a JSON number's text, is from zero to `max`, compared exactly. */
export function decimalAtMost(value: string, max: string): boolean {
  const given = ExactNumber.from(value)?.scaled(DECIMAL_PLACES);
  const bound = ExactNumber.from(max)?.scaled(DECIMAL_PLACES);
  return given !== undefined && bound !== undefined && given >= 0n && given <= bound;
}

function formOf(constraint: Constraint): Form | undefined {
  return KEYS.find(({ pattern }) => pattern.test(constraint.key))?.types[constraintType(constraint)];
}

function constraintFault(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'must be an object';
  const { key, ...rest } = value as Readonly<Record<string, unknown>>;
  if (typeof key !== 'string' || key.length > MAX_KEY_LENGTH) return 'has no key';
  const known = KEYS.find(({ pattern }) => pattern.test(key));
  if (known === undefined) return `has the key ${JSON.stringify(key.slice(0, 64))}, which is not known`;
  const [type, ...more] = Object.keys(rest);
  const allowed = CONSTRAINT_TYPES.find((name) => name === type);
  const form = allowed === undefined ? undefined : known.types[allowed];
  if (allowed === undefined || form === undefined || more.length > 0) {
    return `must have exactly one of ${Object.keys(known.types).join(', ')} for ${key}`;
  }
  return form.isValue(rest[allowed]) ? undefined : `has a ${allowed} that is not of its form`;
}
