import { KeydError } from './problem.ts';

/** Deeper than anything that is signed; guards the stack. */
const MAX_DEPTH = 64;

/**
 * Canonical JSON (RFC 8785): members sorted by UTF-16 code units, no white space, ECMAScript numbers.
 * Takes null, booleans, finite numbers, well-formed strings, arrays and plain objects; `toJSON` is not called.
 * @throws KeydError `malformed_json` for anything else, -0 and lone surrogates included
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) return refuse(`nesting deeper than ${MAX_DEPTH}`);
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    // RFC 8785 §3.2.2.3 writes -0 as 0: two values, one text. Nothing signed here needs it.
    if (!Number.isFinite(value) || Object.is(value, -0)) return refuse(`the number ${String(value)}`);
    return JSON.stringify(value);
  }
  if (typeof value === 'string') {
    if (!value.isWellFormed()) return refuse('a lone surrogate');
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(',')}]`;
  if (typeof value === 'object' && isPlain(value)) {
    const members = Object.entries(value)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, member]) => `${write(name, depth)}:${write(member, depth + 1)}`);
    return `{${members.join(',')}}`;
  }
  return refuse(`a value of type ${typeof value}`);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function refuse(what: string): never {
  throw new KeydError('malformed_json', `${what} has no canonical JSON form (RFC 8785)`);
}
