import { createHash } from 'node:crypto';
import { encodeBase64url } from '../wire/base64url.ts';

/** base64url SHA-256 of a token's signing input, ASCII: `par_hash` of the links below it. */
export function parentHash({ signingInput }: { readonly signingInput: string }): string {
  return encodeBase64url(createHash('sha256').update(signingInput, 'ascii').digest());
}
