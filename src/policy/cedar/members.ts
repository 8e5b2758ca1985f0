/** JSON documents and queries as policy reads them: leaves by JSON Pointer, numbers exact (DECISIONS 20, S7). */
import { ExactNumber } from '../../wire/exact-number.ts';
import { KeydError } from '../../wire/problem.ts';
import { parseExactJson, type ExactJson } from '../../wire/strict-json.ts';
import { toPointer } from './json-pointer.ts';

/** The leaves of a document by pointer, in document order; an empty array or object is one as well. */
export interface Members {
  readonly leaves: ReadonlyMap<string, LeafValue>;
}

export type LeafValue =
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'number'; readonly value: ExactNumber }
  | { readonly kind: 'boolean'; readonly value: boolean }
  /** null, [] or {}. */
  | { readonly kind: 'nothing' };

/** Why something can not be judged, in words that follow its name. */
export interface Unreadable {
  readonly unreadable: string;
}

export const NO_MEMBERS: Members = { leaves: new Map() };

/** Enough for any request whose members a policy lists; work and memory stay bounded. */
const MAX_LEAVES = 1024;
const LIMITS = { maxDepth: 16, maxOctets: 262_144 } as const;
/** Pointers repeat the names above a leaf: without a bound, a long name over many leaves is multiplied. */
const MAX_POINTER_CHARACTERS = 1_048_576;

/** Every leaf of a JSON document. */
export function readJson(document: Uint8Array | string): Members | Unreadable {
  let value: ExactJson;
  try {
    value = parseExactJson(document, LIMITS);
  } catch (thrown) {
    if (thrown instanceof KeydError) return { unreadable: `is no strict JSON: ${thrown.message}` };
    throw thrown;
  }
  const leaves = new Map<string, LeafValue>();
  if (collect(value, '', leaves, MAX_POINTER_CHARACTERS) < 0) {
    return { unreadable: 'has names that are too long for so many members' };
  }
  return leaves.size > MAX_LEAVES ? { unreadable: `has more than ${MAX_LEAVES} members` } : { leaves };
}

/** @returns characters left for further pointers; below zero, not all leaves are there */
function collect(
  value: ExactJson,
  pointer: string,
  leaves: Map<string, LeafValue>,
  charactersLeft: number,
): number {
  if (leaves.size > MAX_LEAVES) return charactersLeft;
  let left = charactersLeft - pointer.length;
  if (left < 0) return left;
  const leaf = leafOf(value);
  if (leaf !== undefined) {
    leaves.set(pointer, leaf);
    return left;
  }
  const members = value as Readonly<Record<string, ExactJson>>;
  for (const name of Object.keys(members)) {
    left = collect(members[name] as ExactJson, pointer + toPointer([name]), leaves, left);
    if (left < 0) return left;
  }
  return left;
}

/** Undefined for an array or object with something in it. */
function leafOf(value: ExactJson): LeafValue | undefined {
  if (typeof value === 'string') return { kind: 'text', value };
  if (typeof value === 'boolean') return { kind: 'boolean', value };
  if (value instanceof ExactNumber) return { kind: 'number', value };
  return value === null || Object.keys(value).length === 0 ? { kind: 'nothing' } : undefined;
}

/** Plain, as people and servers write amounts in a query: no exponent, no plus, no leading zero. */
const PLAIN_DECIMAL = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$/;

/**
 * The members of a query, read as a form. What two servers may read differently (a name twice, ";", octets that
 * are no UTF-8) can not be judged.
 */
export function readQuery(query: string | undefined): Members | Unreadable {
  if (query === undefined) return NO_MEMBERS;
  if (query.includes(';')) return { unreadable: 'has a ";", which some servers take for "&"' };
  const leaves = new Map<string, LeafValue>();
  for (const [name, value] of new URLSearchParams(query)) {
    const pointer = toPointer([name]);
    if (leaves.has(pointer)) return { unreadable: `has ${JSON.stringify(name)} twice` };
    if (/[\u{fffd}\0]/u.test(name + value)) return { unreadable: 'has octets that are no UTF-8' };
    leaves.set(pointer, { kind: 'text', value });
  }
  return leaves.size > MAX_LEAVES ? { unreadable: `has more than ${MAX_LEAVES} members` } : { leaves };
}

/** The exact number of a leaf; of text only in a query, where all is text. */
export function exactNumber(leaf: LeafValue | undefined, plainText: boolean): ExactNumber | undefined {
  if (leaf?.kind === 'number') return leaf.value;
  if (leaf?.kind !== 'text' || !plainText || !PLAIN_DECIMAL.test(leaf.value)) return undefined;
  return ExactNumber.from(leaf.value);
}

const DECIMAL_PLACES = 4;
const MAX_DECIMAL = 2n ** 63n - 1n;
const MIN_DECIMAL = -(2n ** 63n);

function cedarScaled(number: ExactNumber): bigint | undefined {
  const scaled = number.scaled(DECIMAL_PLACES);
  if (scaled === undefined || scaled > MAX_DECIMAL || scaled < MIN_DECIMAL) return undefined;
  return scaled;
}

/** Whether Cedar has this very number (4 places, 64 bits). */
export function isCedarDecimal(number: ExactNumber): boolean {
  return cedarScaled(number) !== undefined;
}

/** A number as Cedar writes decimals ("-1.5000"), or undefined where that would change it. */
export function cedarDecimal(number: ExactNumber): string | undefined {
  const scaled = cedarScaled(number);
  if (scaled === undefined) return undefined;
  const digits = (scaled < 0n ? -scaled : scaled).toString().padStart(DECIMAL_PLACES + 1, '0');
  const point = digits.length - DECIMAL_PLACES;
  return `${scaled < 0n ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}`;
}
