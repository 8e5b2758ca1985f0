/**
 * How our objects name themselves on a token: CKA_ID is the 16 octets of the key's UUID, CKA_LABEL is
 * `agentkeyd:<purpose>:<algorithm>:<keyId>`. Others' objects on the same token are never touched.
 */
import type { KeyPurpose } from '../backend.ts';
import { isAlgorithm, type Algorithm } from '../../wire/algorithms.ts';
import { KeydError } from '../../wire/problem.ts';

export const KEY_PURPOSES = ['agent', 'host', 'audit', 'issuer'] as const satisfies readonly KeyPurpose[];

export const KEY_ID_OCTETS = 16;

export interface KeyLabel {
  readonly keyId: string;
  readonly purpose: KeyPurpose;
  readonly algorithm: Algorithm;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The 16 octets of a lower-case UUID. @throws KeydError `malformed_request` */
export function keyIdToOctets(keyId: string): Buffer {
  if (!UUID.test(keyId))
    throw new KeydError('malformed_request', 'A key id is a UUID in lower case (RFC 9562)');
  return Buffer.from(keyId.replaceAll('-', ''), 'hex');
}

/** The UUID of CKA_ID; undefined if the attribute has another length. */
export function keyIdFromOctets(octets: Uint8Array): string | undefined {
  if (octets.length !== KEY_ID_OCTETS) return undefined;
  const hex = Buffer.from(octets).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export function formatKeyLabel(label: KeyLabel): string {
  return `agentkeyd:${label.purpose}:${label.algorithm}:${label.keyId}`;
}

/** Reads CKA_LABEL; undefined if it is not one of ours, or names another key than CKA_ID does. */
export function parseKeyLabel(text: string, keyId: string): KeyLabel | undefined {
  const [program, purpose, algorithm, named, ...rest] = text.split(':');
  const known = KEY_PURPOSES.find((candidate) => candidate === purpose);
  if (program !== 'agentkeyd' || known === undefined || named !== keyId || rest.length > 0) return undefined;
  if (algorithm === undefined || !isAlgorithm(algorithm)) return undefined;
  return { keyId, purpose: known, algorithm };
}
