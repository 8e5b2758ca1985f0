import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  contextTag,
  DER_TAG,
  DerReader,
  der,
  derBitString,
  derBoolean,
  derInteger,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSetOf,
  derUtf8String,
  readWhole,
} from '../../../src/wire/der.ts';

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');
const from = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const reader = (text: string): DerReader => new DerReader(from(text), 'test value');
const malformed = expect.objectContaining({ code: 'malformed_structure' }) as unknown;

/** SubjectPublicKeyInfo of an EC key (RFC 5480 §2), read to its last element. */
function readSpki(octets: Uint8Array): { algorithm: string; curve: string; point: Uint8Array } {
  return readWhole(octets, 'SPKI', (outer) => {
    const spki = outer.sequence();
    const identifier = spki.sequence();
    const result = { algorithm: identifier.oid(), curve: identifier.oid(), point: spki.bitString().octets };
    identifier.end();
    spki.end();
    return result;
  });
}

describe('DER reader', () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });

  it('reads what OpenSSL wrote, and writes it back octet for octet', () => {
    const { algorithm, curve, point } = readSpki(spki);
    expect(algorithm).toBe('1.2.840.10045.2.1');
    expect(curve).toBe('1.2.840.10045.3.1.7');
    expect(point).toHaveLength(65);
    const rebuilt = derSequence(derSequence(derOid(algorithm), derOid(curve)), derBitString(point));
    expect(hex(rebuilt)).toBe(hex(spki));
    expect(
      createPublicKey({ key: Buffer.from(rebuilt), type: 'spki', format: 'der' }).equals(publicKey),
    ).toBe(true);
  });

  it('refuses a truncation at every offset and a trailing octet', () => {
    for (let length = 0; length < spki.length; length++) {
      expect(() => readSpki(spki.subarray(0, length)), `cut at ${length}`).toThrow(malformed);
    }
    expect(() => readSpki(Buffer.concat([spki, Buffer.from([0])]))).toThrow(malformed);
  });

  it.each([
    ['indefinite length', '30 80 00 00'],
    ['long form for a short length', '04 81 01 00'],
    ['leading zero in a length', '04 82 00 80' + '00'.repeat(128)],
    ['length of four octets', '04 84 00 00 00 01 00'],
    ['length beyond the input', '04 05 00'],
    ['tag number above 30', '1f 81 00 00'],
    ['nothing', ''],
    ['an identifier only', '30'],
  ])('refuses %s', (_name, octets) => {
    expect(() => reader(octets).element()).toThrow(malformed);
  });

  it.each([
    ['BOOLEAN 0x01', '01 01 01'],
    ['BOOLEAN of two octets', '01 02 ff ff'],
    ['empty BOOLEAN', '01 00'],
  ])('refuses %s', (_name, octets) => {
    expect(() => reader(octets).boolean()).toThrow(malformed);
  });

  it.each([
    ['empty INTEGER', '02 00'],
    ['INTEGER with a leading zero', '02 02 00 7f'],
    ['INTEGER with a leading ff', '02 02 ff 80'],
  ])('refuses %s', (_name, octets) => {
    expect(() => reader(octets).integer()).toThrow(malformed);
  });

  it.each([
    ['empty OID', '06 00'],
    ['OID ending within an arc', '06 02 2a 86'],
    ['OID with a padded arc', '06 03 2a 80 01'],
  ])('refuses %s', (_name, octets) => {
    expect(() => reader(octets).oid()).toThrow(malformed);
  });

  it.each([
    ['BIT STRING without its first octet', '03 00'],
    ['BIT STRING with eight unused bits', '03 02 08 00'],
    ['empty BIT STRING with unused bits', '03 01 01'],
    ['BIT STRING with padding bits set', '03 02 04 0f'],
  ])('refuses %s', (_name, octets) => {
    expect(() => reader(octets).bitString()).toThrow(malformed);
  });

  it('refuses overlong UTF-8, a NULL with content and another tag than asked for', () => {
    expect(() => reader('0c 02 c0 80').utf8String()).toThrow(malformed);
    expect(() => {
      reader('05 01 00').null();
    }).toThrow(malformed);
    expect(() => reader('04 01 00').integer()).toThrow(malformed);
    expect(() => reader('02 01 80').smallInteger(255)).toThrow(malformed);
    expect(() => reader('02 02 01 00').smallInteger(255)).toThrow(malformed);
  });

  it('tells how the elements of a structure lie', () => {
    const outer = reader('a1 03 02 01 05 80 00');
    expect(outer.nextIs(contextTag(1))).toBe(true);
    expect(outer.within(contextTag(1)).smallInteger(9)).toBe(5);
    expect(outer.atEnd).toBe(false);
    expect(outer.element(contextTag(0, false)).content).toHaveLength(0);
    outer.end();
    expect(outer.atEnd).toBe(true);
  });
});

describe('DER writer', () => {
  it.each([
    [0, '020100'],
    [127, '02017f'],
    [128, '02020080'],
    [-1, '0201ff'],
    [-128, '020180'],
    [-129, '0202ff7f'],
    [65537, '0203010001'],
  ])('writes INTEGER %i', (value, encoded) => {
    expect(hex(derInteger(value))).toBe(encoded);
  });

  it.each([
    ['1.2.840.113549.1.1.11', '06092a864886f70d01010b'],
    ['2.23.133.8.1', '060567810508 01'.replace(' ', '')],
    ['2.999.3', '060388 3703'.replace(' ', '')],
  ])('writes OID %s', (dotted, encoded) => {
    expect(hex(derOid(dotted))).toBe(encoded);
  });

  it.each(['', '1', '3.1', '1.40', '1.2.', '1.2.03', '1..2', '1.2.-1', 'a.b'])(
    'refuses the OID %j',
    (dotted) => {
      expect(() => derOid(dotted)).toThrow(malformed);
    },
  );

  it('sorts a SET OF and keeps a SEQUENCE', () => {
    expect(hex(derSetOf(derInteger(2), derInteger(1)))).toBe('3106020101020102');
    expect(hex(derSequence(derInteger(2), derInteger(1)))).toBe('3006020102020101');
  });

  it('reads back any INTEGER', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }), (value) => {
        expect(readWhole(derInteger(value), 'test value', (r) => r.integer())).toBe(value);
      }),
    );
  });

  it('reads back any OID', () => {
    const arcs = fc.array(fc.bigInt({ min: 0n, max: 2n ** 128n }), { maxLength: 8 });
    fc.assert(
      fc.property(fc.constantFrom('0.9', '1.39', '2.25', '2.1000000'), arcs, (root, rest) => {
        const dotted = [root, ...rest].join('.');
        expect(readWhole(derOid(dotted), 'test value', (r) => r.oid())).toBe(dotted);
      }),
    );
  });

  it.each([0, 127, 128, 255, 256, 65535, 65536])('reads back %i octets', (length) => {
    const content = new Uint8Array(length).fill(7);
    expect(readWhole(derOctetString(content), 'test value', (r) => r.octetString())).toEqual(
      Buffer.from(content),
    );
  });

  it('reads back the other types', () => {
    const all = derSequence(
      derBoolean(true),
      derBoolean(false),
      derNull(),
      derUtf8String('gr\u00fc\u00df'),
      derBitString(Uint8Array.of(0xf0), 4),
      der(contextTag(3), derInteger(9)),
    );
    readWhole(all, 'test value', (outer) => {
      const inner = outer.sequence();
      expect(inner.boolean()).toBe(true);
      expect(inner.boolean()).toBe(false);
      inner.null();
      expect(inner.utf8String()).toBe('gr\u00fc\u00df');
      const bits = inner.bitString();
      expect(hex(bits.octets)).toBe('f0');
      expect(bits.unusedBits).toBe(4);
      expect(inner.within(contextTag(3)).smallInteger(9)).toBe(9);
      expect(inner.nextIs(DER_TAG.null)).toBe(false);
      inner.end();
    });
  });

  it('never reads past its input, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
        const all = new DerReader(octets, 'test value');
        try {
          while (!all.atEnd) expect(all.element().encoded.length).toBeGreaterThanOrEqual(2);
        } catch (thrown) {
          expect(thrown).toEqual(malformed);
        }
      }),
    );
  });
});
