import { KeydError } from './problem.ts';

/** RFC 6838 §4.2 restricted names, one optional subtype separator. */
const TYP = /^[a-z0-9][a-z0-9!#$&^_.+-]*(?:\/[a-z0-9][a-z0-9!#$&^_.+-]*)?$/;
const MAX_LENGTH = 127;

/**
 * A JOSE `typ` in the one form that rules compare (S1): lower case, without `application/` (RFC 7515 §4.1.9).
 * @throws KeydError `malformed_request` where it is absent, not ASCII, or no media type
 */
export function normaliseTyp(typ: unknown): string {
  if (typeof typ !== 'string' || typ === '') return refuse('is missing');
  if (typ.length > MAX_LENGTH) return refuse(`is longer than ${MAX_LENGTH} characters`);
  // Before lower-casing: the Kelvin sign, for one, would become an ASCII k.
  if (!/^[\x21-\x7e]+$/.test(typ)) return refuse('has characters outside visible ASCII');
  const normal = typ.toLowerCase().replace(/^application\//, '');
  if (!TYP.test(normal) || normal.startsWith('application/')) return refuse('is no media type');
  return normal;
}

function refuse(reason: string): never {
  throw new KeydError('malformed_request', `typ ${reason}`);
}
