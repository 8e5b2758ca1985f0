/**
 * Checkpoints of an audit log: the size and root of its Merkle tree as a C2SP tlog-checkpoint, in a signed note
 * (c2sp.org/tlog-checkpoint, c2sp.org/signed-note) by an ECDSA P-256 key. The key id is the first four octets of
 * SHA-256(SubjectPublicKeyInfo); the signature is DER over SHA-256 of the note's text.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { ecdsaConcatToDer, ecdsaDerToConcat } from './ecdsa-signature.ts';
import type { PublicJwk } from './jwk.ts';
import { KeydError } from './problem.ts';
import { publicKeyObject, verifySignature } from './public-key.ts';

export interface TreeHead {
  /** Which log this is: `agentkeyd/<uuid>`. */
  readonly origin: string;
  readonly size: number;
  /** 32 octets. */
  readonly root: Uint8Array;
}

const COORDINATE_OCTETS = 32;
const ORIGIN = /^[a-z0-9][a-z0-9./_-]{0,127}$/;
const NOTE =
  /^([^\n]+)\n(0|[1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\n\n\u2014 ([^\n ]+) ([A-Za-z0-9+/]+={0,2})\n$/;

/** What is signed. */
export function checkpointText({ origin, size, root }: TreeHead): string {
  if (!ORIGIN.test(origin)) throw new KeydError('internal', `${origin} is no origin of a log`);
  return `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n`;
}

/** The note, from the signature in JOSE form (r‖s). */
export function signedCheckpoint(head: TreeHead, key: PublicJwk, signature: Uint8Array): string {
  const der = ecdsaConcatToDer(signature, COORDINATE_OCTETS);
  const line = Buffer.concat([noteKeyId(key), der]).toString('base64');
  return `${checkpointText(head)}\n\u2014 ${head.origin} ${line}\n`;
}

/**
 * Takes a note apart without looking at its signature.
 * @throws KeydError `malformed_structure`
 */
export function parseCheckpoint(
  note: string,
): TreeHead & { readonly keyId: Uint8Array; readonly der: Uint8Array } {
  const [, origin, size, root, signer, line] = NOTE.exec(note) ?? [];
  if (origin === undefined || root === undefined || line === undefined || !ORIGIN.test(origin)) {
    throw new KeydError('malformed_structure', 'this is no signed checkpoint of an agentkeyd log');
  }
  const signature = strictBase64(line);
  if (signer !== origin || signature.length < 5) {
    throw new KeydError('malformed_structure', 'the checkpoint is not signed in the name of its log');
  }
  if (!Number.isSafeInteger(Number(size))) {
    throw new KeydError('malformed_structure', `${size ?? ''} is no size of a log`);
  }
  return {
    origin,
    size: Number(size),
    root: strictBase64(root),
    keyId: signature.subarray(0, 4),
    der: signature.subarray(4),
  };
}

/** One octet string has one spelling. */
function strictBase64(text: string): Uint8Array {
  const octets = Buffer.from(text, 'base64');
  if (octets.toString('base64') === text) return octets;
  throw new KeydError('malformed_structure', 'the checkpoint has base64 that no octets have');
}

/**
 * The tree head that this key signed.
 * @throws KeydError `malformed_structure`, `signature_invalid`
 */
export function verifyCheckpoint(note: string, key: PublicJwk): TreeHead {
  const { origin, size, root, keyId, der } = parseCheckpoint(note);
  const head = { origin, size, root };
  if (key.alg !== 'ES256' || !timingSafeEqual(keyId, noteKeyId(key))) {
    throw new KeydError('signature_invalid', 'the checkpoint is by another key');
  }
  const signature = ecdsaDerToConcat(der, COORDINATE_OCTETS);
  if (!verifySignature(key, Buffer.from(checkpointText(head)), signature)) {
    throw new KeydError('signature_invalid', 'the signature of the checkpoint does not verify');
  }
  return head;
}

/** The first four octets of SHA-256(SubjectPublicKeyInfo). */
export function noteKeyId(key: PublicJwk): Uint8Array {
  const spki = publicKeyObject(key).export({ format: 'der', type: 'spki' });
  return createHash('sha256').update(spki).digest().subarray(0, 4);
}
