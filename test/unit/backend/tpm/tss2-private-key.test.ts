import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeTss2PrivateKey,
  encodeTss2PrivateKey,
  tss2PrivateKeyToPem,
} from '../../../../src/backend/tpm/tss2-private-key.ts';
import {
  contextTag,
  der,
  derBoolean,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
} from '../../../../src/wire/der.ts';
import { expectStrict, malformed } from '../../wire/tpm/vectors.ts';

const key = { parent: 0x81000001, publicArea: Uint8Array.of(1, 2, 3), privateArea: Uint8Array.of(4, 5) };

/** A file with the parts given otherwise than we write them. */
function variant(parts: {
  type?: string;
  emptyAuth?: Uint8Array;
  parent?: number;
  tail?: Uint8Array;
}): Uint8Array {
  return derSequence(
    derOid(parts.type ?? '2.23.133.10.1.3'),
    parts.emptyAuth ?? der(contextTag(0), derBoolean(false)),
    derInteger(parts.parent ?? key.parent),
    derOctetString(Uint8Array.of(0, 1, 7)),
    parts.tail ?? derOctetString(Uint8Array.of(0, 1, 8)),
  );
}

describe('TSS2 PRIVATE KEY', () => {
  it('is read as it was written, strictly', () => {
    expect(decodeTss2PrivateKey(encodeTss2PrivateKey(key))).toEqual(key);
    expectStrict(decodeTss2PrivateKey, encodeTss2PrivateKey(key));
  });

  it('has the OID of a loadable key, and says that the key has an auth value', () => {
    const hex = Buffer.from(encodeTss2PrivateKey(key)).toString('hex');
    expect(hex).toMatch(/^30..06066781050a0103a003010100/);
    expect(hex).toContain('02050081000001');
  });

  it('is any key, written and read', () => {
    const octets = fc.uint8Array({ maxLength: 400 });
    fc.assert(
      fc.property(
        octets,
        octets,
        fc.integer({ min: 0x81000000, max: 0x81ffffff }),
        (publicArea, privateArea, parent) => {
          const any = { parent, publicArea, privateArea };
          expect(decodeTss2PrivateKey(encodeTss2PrivateKey(any))).toEqual(any);
        },
      ),
    );
  });

  it('is refused with another type, an empty auth, a parent that is not persistent, or a size that does not fit', () => {
    expect(() => decodeTss2PrivateKey(variant({}))).not.toThrow();
    for (const wrong of [
      variant({ type: '2.23.133.10.1.4' }),
      variant({ emptyAuth: der(contextTag(0), derBoolean(true)) }),
      variant({ parent: 0x40000001 }),
      variant({ tail: derOctetString(Uint8Array.of(0, 2, 8)) }),
      variant({ tail: derOctetString(Uint8Array.of(0, 1, 8, 8)) }),
    ]) {
      expect(() => decodeTss2PrivateKey(wrong)).toThrow(malformed);
    }
  });

  it('has a PEM of 64 columns', () => {
    const long = encodeTss2PrivateKey({ ...key, privateArea: new Uint8Array(200) });
    const lines = tss2PrivateKeyToPem(long).trimEnd().split('\n');
    expect(lines[0]).toBe('-----BEGIN TSS2 PRIVATE KEY-----');
    expect(lines.at(-1)).toBe('-----END TSS2 PRIVATE KEY-----');
    expect(Math.max(...lines.slice(1, -1).map(({ length }) => length))).toBe(64);
    expect(Buffer.from(lines.slice(1, -1).join(''), 'base64').equals(long)).toBe(true);
  });
});
