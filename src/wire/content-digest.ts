/** Content-Digest (RFC 9530 §2): computed with SHA-256; SHA-256 and SHA-512 are verified. */
import { hash, timingSafeEqual } from 'node:crypto';
import { KeydError } from './problem.ts';
import { serializeBareItem, serializeMember } from './structured-fields.ts';

const DIGESTS = { 'sha-256': ['sha256', 32], 'sha-512': ['sha512', 64] } as const;
type DigestName = keyof typeof DIGESTS;

const MAX_FIELD_LENGTH = 1024;
/** One member of our strict subset of the dictionary: a key and a byte sequence, no parameters. */
const MEMBER = /^([a-z*][a-z0-9_\-.*]*)=:([A-Za-z0-9+/]*={0,2}):$/;

/** The field value `sha-256=:...:` of these content octets. */
export function contentDigest(content: Uint8Array): string {
  return serializeMember('sha-256', serializeBareItem(hash('sha256', content, 'buffer')));
}

/**
 * Checks a Content-Digest field value against the content: every member of a known algorithm must match and
 * at least one must be known; others are ignored as RFC 9530 §2 asks. Malformed members and repeated keys
 * are errors.
 * @throws KeydError `invalid_header` where malformed, `verification_failed` where it does not match
 */
export function verifyContentDigest(field: string, content: Uint8Array): void {
  let known = 0;
  for (const [name, digest] of parseDigests(field)) {
    if (!isDigestName(name)) continue;
    const [hashName, octets] = DIGESTS[name];
    if (digest.length !== octets) malformed(`has a ${name} of ${digest.length} octets`);
    const actual = hash(hashName, content, 'buffer');
    if (!timingSafeEqual(actual, digest)) {
      throw new KeydError('verification_failed', `the content does not match its ${name} Content-Digest`);
    }
    known += 1;
  }
  if (known === 0) {
    throw new KeydError('verification_failed', 'the Content-Digest names neither sha-256 nor sha-512');
  }
}

function parseDigests(field: string): ReadonlyMap<string, Uint8Array> {
  if (field.length > MAX_FIELD_LENGTH) malformed(`is longer than ${MAX_FIELD_LENGTH} characters`);
  const members = new Map<string, Uint8Array>();
  for (const text of field.split(',')) {
    const [, name, base64] = MEMBER.exec(text.replace(/^[ \t]+|[ \t]+$/g, '')) ?? [];
    if (name === undefined || base64 === undefined) return malformed('is no dictionary of byte sequences');
    if (members.has(name)) malformed(`has ${name} twice`);
    const octets = Buffer.from(base64, 'base64');
    if (octets.toString('base64') !== base64) malformed(`has a ${name} that is not canonical base64`);
    members.set(name, octets);
  }
  return members;
}

function isDigestName(name: string): name is DigestName {
  return Object.hasOwn(DIGESTS, name);
}

function malformed(reason: string): never {
  throw new KeydError('invalid_header', `the Content-Digest ${reason}`);
}
