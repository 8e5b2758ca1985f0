/** Certificate revocation lists (RFC 5280 §5): full lists of one issuer, as EK vendors publish them. */
import type { KeyObject } from 'node:crypto';
import { contextTag, DER_TAG, readWhole, type DerReader } from '../../wire/der.ts';
import { readExtensions, readTime } from '../../wire/x509.ts';
import { verifySigned, type SignedOctets } from '../../wire/x509-signature.ts';

export interface RevocationList extends SignedOctets {
  readonly issuer: Uint8Array;
  readonly thisUpdateSeconds: number;
  /** Without it the list never grows old (RFC 5280 demands it; some vendors leave it out). */
  readonly nextUpdateSeconds: number | undefined;
  /** Serial numbers, lower-case hex of the INTEGER's content. */
  readonly revoked: ReadonlySet<string>;
}

const VERSION_2 = 1;

/**
 * Reads a DER list. One with a critical extension (delta, indirect, partial scope) is refused: it does not say
 * what its absence of a serial number seems to say.
 * @throws KeydError `malformed_structure`
 */
export function parseRevocationList(encoded: Uint8Array): RevocationList {
  return readWhole(encoded, 'revocation list', (reader) => {
    const list = reader.sequence();
    const tbsElement = list.element(DER_TAG.sequence);
    const outerAlgorithm = list.element(DER_TAG.sequence);
    const signature = list.bitString();
    list.end();
    const fields = readWhole(tbsElement.encoded, 'revocation list', (outer) => {
      const tbs = outer.sequence();
      if (tbs.nextIs(DER_TAG.integer)) tbs.smallInteger(VERSION_2);
      const innerAlgorithm = tbs.element(DER_TAG.sequence).encoded;
      if (!Buffer.from(innerAlgorithm).equals(outerAlgorithm.encoded))
        tbs.fail('names two signature algorithms');
      const issuer = tbs.element(DER_TAG.sequence).encoded;
      const thisUpdateSeconds = readTime(tbs);
      const hasNextUpdate = tbs.nextIs(DER_TAG.utcTime) || tbs.nextIs(DER_TAG.generalizedTime);
      const nextUpdateSeconds = hasNextUpdate ? readTime(tbs) : undefined;
      const revoked = tbs.nextIs(DER_TAG.sequence) ? readRevoked(tbs.sequence()) : new Set<string>();
      if (tbs.nextIs(contextTag(0))) refuseCritical(tbs, tbs.within(contextTag(0)));
      tbs.end();
      return { issuer, thisUpdateSeconds, nextUpdateSeconds, revoked };
    });
    return {
      ...fields,
      tbs: tbsElement.encoded,
      signatureAlgorithm: outerAlgorithm.encoded,
      signature: signature.octets,
    };
  });
}

/** Whether `key` signed the list. */
export function isSignedBy(list: RevocationList, key: KeyObject): boolean {
  return verifySigned(list, key);
}

function readRevoked(entries: DerReader): ReadonlySet<string> {
  const serials = new Set<string>();
  while (!entries.atEnd) {
    const entry = entries.sequence();
    serials.add(Buffer.from(entry.element(DER_TAG.integer).content).toString('hex'));
    readTime(entry);
    // Entry extensions give a reason or an invalidity date: a certificate on hold is refused like a revoked one.
    if (!entry.atEnd) entry.element(DER_TAG.sequence);
    entry.end();
  }
  return serials;
}

function refuseCritical(list: DerReader, extensions: DerReader): void {
  for (const [oid, { critical }] of readExtensions(extensions)) {
    if (critical) list.fail(`has the critical extension ${oid}, so it is not a full list of its issuer`);
  }
}
