import { KeydError } from './problem.ts';

/** Octets to base64url without padding (RFC 4648 §5). */
export function encodeBase64url(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString('base64url');
}

/**
 * Strict base64url to octets: no padding, no white space, no other alphabet, and the unused low bits
 * of the last character are zero, so that one octet string has exactly one spelling.
 * @throws KeydError `malformed_request`
 */
export function decodeBase64url(text: string, what = 'value'): Uint8Array {
  const octets = Buffer.from(text, 'base64url');
  if (octets.toString('base64url') !== text) {
    throw new KeydError('malformed_request', `${what} is not base64url without padding (RFC 4648 §5)`);
  }
  return new Uint8Array(octets.buffer, octets.byteOffset, octets.byteLength);
}
