import { encodeBase64url } from './base64url.ts';

/** A value as its JSON form: every octet string becomes base64url text, `undefined` members vanish. */
export function toJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return encodeBase64url(value);
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, member]) => member !== undefined)
        .map(([name, member]) => [name, toJson(member)]),
    );
  }
  return value;
}
