/**
 * Shapes for everything that comes in as parsed JSON: unknown members are errors, every string and
 * array is bounded, and all faults are collected, so that a person mends them in one go.
 */
import { decodeBase64url } from './base64url.ts';
import { KeydError, type ErrorCode } from './problem.ts';

/** A shape reads `value` found at `path`, pushes what is wrong to `faults`, and returns the typed value. */
export type Shape<T> = (value: unknown, path: string, faults: string[]) => T;

export type Infer<S> = S extends Shape<infer T> ? T : never;

/** A member that may be left out; `undefined` is never a value. */
export interface OptionalShape<T> {
  readonly optional: Shape<T>;
}

type Members = Readonly<Record<string, Shape<unknown> | OptionalShape<unknown>>>;
type RequiredKeys<M extends Members> = {
  [K in keyof M]: M[K] extends OptionalShape<unknown> ? never : K;
}[keyof M];
type OptionalKeys<M extends Members> = Exclude<keyof M, RequiredKeys<M>>;
type ObjectOf<M extends Members> = {
  readonly [K in RequiredKeys<M>]: M[K] extends Shape<infer T> ? T : never;
} & { readonly [K in OptionalKeys<M>]?: M[K] extends OptionalShape<infer T> ? T : never };

// A faulty value never reaches the caller: `parse` throws when any fault was pushed.
const NOTHING = undefined as never;

function fault(faults: string[], path: string, message: string): never {
  faults.push(`${path === '' ? 'the value' : path} ${message}`);
  return NOTHING;
}

/** Runs `shape` over `value`. @throws KeydError `code` listing every fault */
export function parse<T>(shape: Shape<T>, value: unknown, code: ErrorCode = 'malformed_request'): T {
  const faults: string[] = [];
  const result = shape(value, '', faults);
  if (faults.length > 0) throw new KeydError(code, faults.slice(0, 3).join('; '), { faults });
  return result;
}

/** An object with exactly these members; others are faults. */
export function object<M extends Members>(members: M): Shape<ObjectOf<M>> {
  const known = Object.entries(members).map(([key, member]) =>
    typeof member === 'function'
      ? { key, shape: member, isRequired: true }
      : { key, shape: member.optional, isRequired: false },
  );
  return (value, path, faults) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return fault(faults, path, 'must be an object');
    }
    const given = value as Readonly<Record<string, unknown>>;
    for (const key of Object.keys(given)) {
      if (!Object.hasOwn(members, key)) fault(faults, join(path, key), 'is not a known member');
    }
    const result: Record<string, unknown> = {};
    for (const { key, shape, isRequired } of known) {
      if (Object.hasOwn(given, key) && given[key] !== undefined) {
        result[key] = shape(given[key], join(path, key), faults);
      } else if (isRequired) {
        fault(faults, join(path, key), 'is missing');
      }
    }
    return result as ObjectOf<M>;
  };
}

export function optional<T>(shape: Shape<T>): OptionalShape<T> {
  return { optional: shape };
}

/** A string of at most `maxLength` UTF-16 units without lone surrogates, matching `pattern` if given. */
export function text(options: {
  readonly maxLength: number;
  readonly pattern?: RegExp;
  readonly what?: string;
}): Shape<string> {
  return (value, path, faults) => {
    if (typeof value !== 'string') return fault(faults, path, 'must be a string');
    if (value.length > options.maxLength) {
      return fault(faults, path, `is longer than ${options.maxLength} characters`);
    }
    if (!value.isWellFormed()) return fault(faults, path, 'has a lone surrogate');
    if (options.pattern !== undefined && !options.pattern.test(value)) {
      return fault(faults, path, `must be ${options.what ?? `like ${options.pattern.source}`}`);
    }
    return value;
  };
}

export function integer(options: { readonly min: number; readonly max: number }): Shape<number> {
  return (value, path, faults) =>
    typeof value === 'number' &&
    Number.isSafeInteger(value) &&
    value >= options.min &&
    value <= options.max &&
    !Object.is(value, -0)
      ? value
      : fault(faults, path, `must be an integer from ${options.min} to ${options.max}`);
}

export const boolean: Shape<boolean> = (value, path, faults) =>
  typeof value === 'boolean' ? value : fault(faults, path, 'must be true or false');

export function oneOf<const T extends string>(values: readonly T[]): Shape<T> {
  return (value, path, faults) =>
    values.find((candidate) => candidate === value) ??
    fault(faults, path, `must be one of ${values.join(', ')}`);
}

export function array<T>(
  item: Shape<T>,
  options: { readonly max: number; readonly min?: number },
): Shape<readonly T[]> {
  return (value, path, faults) => {
    if (!Array.isArray(value)) return fault(faults, path, 'must be an array');
    if (value.length > options.max) return fault(faults, path, `has more than ${options.max} items`);
    if (value.length < (options.min ?? 0))
      return fault(faults, path, `has fewer than ${options.min ?? 0} items`);
    return value.map((entry, index) => item(entry, `${path}[${index}]`, faults));
  };
}

/** Base64url octets (RFC 4648 §5, no padding) of `min` to `max` octets. */
export function octets(options: { readonly max: number; readonly min?: number }): Shape<Uint8Array> {
  return (value, path, faults) => {
    if (typeof value !== 'string') return fault(faults, path, 'must be base64url text');
    if (value.length > Math.ceil((options.max * 4) / 3)) {
      return fault(faults, path, `is longer than ${options.max} octets`);
    }
    let decoded: Uint8Array;
    try {
      decoded = decodeBase64url(value);
    } catch {
      return fault(faults, path, 'is not base64url without padding');
    }
    if (decoded.length < (options.min ?? 0))
      return fault(faults, path, `is shorter than ${options.min ?? 0} octets`);
    if (decoded.length > options.max) return fault(faults, path, `is longer than ${options.max} octets`);
    return decoded;
  };
}

/** Members of one shape under names that match `key`. */
export function dictionary<T>(
  key: RegExp,
  item: Shape<T>,
  options: { readonly max: number },
): Shape<Readonly<Record<string, T>>> {
  return (value, path, faults) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return fault(faults, path, 'must be an object');
    }
    const entries = Object.entries(value);
    if (entries.length > options.max) return fault(faults, path, `has more than ${options.max} members`);
    const result: [string, T][] = [];
    for (const [name, entry] of entries) {
      if (!key.test(name)) fault(faults, join(path, name), 'is not an acceptable member name');
      else result.push([name, item(entry, join(path, name), faults)]);
    }
    return Object.fromEntries(result);
  };
}

/** A further rule over a shape's result; `rule` returns what is wrong, or undefined. */
export function refine<T>(shape: Shape<T>, rule: (value: T) => string | undefined): Shape<T> {
  return (value, path, faults) => {
    const before = faults.length;
    const result = shape(value, path, faults);
    if (faults.length > before) return result;
    const wrong = rule(result);
    return wrong === undefined ? result : fault(faults, path, wrong);
  };
}

/** Any JSON value that strict parsing produced; bounded by the parser. */
export const anyJson: Shape<unknown> = (value) => value;

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
