/** Header field lines as they came or will be sent: ordered, names in any case, possibly repeated. */
import { KeydError } from './problem.ts';

/** One field line: name in any case, value without its line end. */
export type FieldLine = readonly [name: string, value: string];

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible ASCII, space, tab (RFC 9110 §5.5 without obs-text: RFC 9421 bases are ASCII). */
const VALUE = /^[\x20-\x7e\t]*$/;

export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

export function isFieldValue(text: string): boolean {
  return VALUE.test(text);
}

/** The values of every line named `name` (lower case), in order. */
export function fieldValues(lines: readonly FieldLine[], name: string): readonly string[] {
  return lines.filter(([given]) => given.toLowerCase() === name).map(([, value]) => value);
}

/** Optional white space at both ends removed (RFC 9110 §5.6.3). */
export function trimOws(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isOws(value.charCodeAt(start))) start += 1;
  while (end > start && isOws(value.charCodeAt(end - 1))) end -= 1;
  return value.slice(start, end);
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/**
 * The combined value of a field (RFC 9421 §2.1): lines trimmed and joined by ", ".
 * @throws KeydError `invalid_header` where the field is absent or a value has a line break (obs-fold is refused)
 */
export function combinedFieldValue(lines: readonly FieldLine[], name: string): string {
  const values = fieldValues(lines, name);
  if (values.length === 0) throw new KeydError('invalid_header', `the header ${name} is covered but absent`);
  for (const value of values) {
    if (!isFieldValue(value)) {
      throw new KeydError(
        'invalid_header',
        `the header ${name} has a line break, a control or a non-ASCII character`,
      );
    }
  }
  return values.map(trimOws).join(', ');
}
