/** Structured Field values (RFC 9651): serialization of what RFC 9421 and RFC 9530 need; nothing is parsed here. */
import { KeydError } from './problem.ts';

/** An sf-token, which is another type than an sf-string of the same characters. */
export class SfToken {
  readonly text: string;

  constructor(text: string) {
    if (!/^[A-Za-z*][A-Za-z0-9:/!#$%&'*+\-.^_`|~]*$/.test(text))
      refuse(`${JSON.stringify(text)} is no token`);
    this.text = text;
  }
}

/** String -> sf-string, integer -> sf-integer, octets -> byte sequence. */
export type SfBareItem = string | number | boolean | Uint8Array | SfToken;

/** In serialization order; a name occurs at most once. */
export type SfParameters = readonly (readonly [name: string, value: SfBareItem])[];

export interface SfItem {
  readonly value: SfBareItem;
  readonly parameters: SfParameters;
}

const MAX_INTEGER = 999_999_999_999_999;

/** RFC 9651 §4.1.3.1, for strings, integers, booleans, tokens and byte sequences. @throws KeydError `invalid_component` */
export function serializeBareItem(value: SfBareItem): string {
  if (typeof value === 'string') return serializeString(value);
  if (typeof value === 'boolean') return value ? '?1' : '?0';
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || Math.abs(value) > MAX_INTEGER) refuse(`${value} is no sf-integer`);
    return String(value);
  }
  if (value instanceof SfToken) return value.text;
  return `:${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')}:`;
}

/** RFC 9651 §4.1.6: visible ASCII and space in double quotes. */
export function serializeString(text: string): string {
  if (!/^[\x20-\x7e]*$/.test(text)) refuse('an sf-string holds visible ASCII and spaces only');
  return `"${text.replace(/["\\]/g, (character) => `\\${character}`)}"`;
}

/** RFC 9651 §4.1.1.2; a true boolean is written as the bare name. */
export function serializeParameters(parameters: SfParameters): string {
  if (parameters.length === 0) return '';
  const seen = new Set<string>();
  let text = '';
  for (const [name, value] of parameters) {
    checkKey(name);
    if (seen.has(name)) refuse(`the parameter ${name} is there twice`);
    seen.add(name);
    text += value === true ? `;${name}` : `;${name}=${serializeBareItem(value)}`;
  }
  return text;
}

/** RFC 9651 §4.1.3. */
export function serializeItem(item: SfItem): string {
  return serializeBareItem(item.value) + serializeParameters(item.parameters);
}

/** RFC 9651 §4.1.1.1. */
export function serializeInnerList(items: readonly SfItem[], parameters: SfParameters): string {
  return `(${items.map(serializeItem).join(' ')})${serializeParameters(parameters)}`;
}

/** One dictionary member, `key=value`, of an already serialized value (RFC 9651 §4.1.2). */
export function serializeMember(key: string, serializedValue: string): string {
  checkKey(key);
  return `${key}=${serializedValue}`;
}

/** RFC 9651 §3.1.2. */
export function isSfKey(text: string): boolean {
  return /^[a-z*][a-z0-9_\-.*]{0,63}$/.test(text);
}

function checkKey(name: string): void {
  if (!isSfKey(name)) refuse(`${JSON.stringify(name)} is no structured field key`);
}

function refuse(reason: string): never {
  throw new KeydError('invalid_component', reason);
}
