/**
 * What a certified counter value vouches for (S9, operation `audit`): the heads of ledger and audit log. An anchor
 * that the daemon makes for itself answers no challenge, and binds the hash of an empty one in its place.
 */
import { attestedData } from './attested-data.ts';
import { integer, object, text, type Infer } from './check.ts';
import { canonicalJson } from './jcs.ts';

const hash = text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/, what: '32 octets, base64url' });

export const anchoredHeads = object({
  /** Of the ledger: the counter's value, decimal; without a counter one that the host counts itself. */
  epoch: text({ maxLength: 20, pattern: /^(?:0|[1-9]\d*)$/ }),
  /** Hash over every ledger record, base64url. */
  ledgerHead: hash,
  /** Root of the audit log's Merkle tree (RFC 9162), base64url. */
  auditHead: hash,
  auditSize: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
});
export type AnchoredHeads = Infer<typeof anchoredHeads>;

/** JCS (RFC 8785) of the heads: `bound` of their extraData. */
export function anchorBound({ epoch, ledgerHead, auditHead, auditSize }: AnchoredHeads): Uint8Array {
  return Buffer.from(canonicalJson({ epoch, ledgerHead, auditHead, auditSize }));
}

/** extraData of an anchor that answers nobody's challenge, 32 octets. */
export function ownAnchorData(bound: Uint8Array): Uint8Array {
  return attestedData('audit', '', bound, undefined);
}
