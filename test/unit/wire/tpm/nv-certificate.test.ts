import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseHandles, parseTimeInfo, parseTpmProperties } from '../../../../src/wire/tpm/capability-data.ts';
import { TpmWriter } from '../../../../src/wire/tpm/codec.ts';
import { trimNvCertificate } from '../../../../src/wire/tpm/nv-certificate.ts';
import { expectStrict, fromHex, malformed, vectors } from './vectors.ts';

describe('a certificate in NV', () => {
  const der = fromHex(vectors.ekCertificates['L-2'] ?? '');

  it('is read without header and without padding', () => {
    const header = Buffer.from('10010000001002', 'hex');
    // The size counts the inner tag.
    header.writeUInt16BE(der.length + 2, 3);
    for (const stored of [
      der,
      Buffer.concat([header, der]),
      Buffer.concat([der, Buffer.alloc(300)]),
      Buffer.concat([header, der, Buffer.alloc(9, 0xff)]),
    ]) {
      expect(Buffer.from(trimNvCertificate(stored))).toEqual(Buffer.from(der));
    }
    expect(new X509Certificate(trimNvCertificate(der)).raw).toHaveLength(der.length);
  });

  it('is refused when cut at any offset, or followed by what is no padding', () => {
    for (let length = 0; length < der.length; length += 1) {
      expect(() => trimNvCertificate(der.subarray(0, length)), `cut at ${length}`).toThrow(malformed);
    }
    for (const tail of [[1], [0, 1], [0xff, 0], [0x30, 0]]) {
      expect(() => trimNvCertificate(Buffer.concat([der, Buffer.from(tail)]))).toThrow(malformed);
    }
  });
});

describe('capability data', () => {
  it('holds properties and handles', () => {
    const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(u32, u32), { selector: ([property]) => property, maxLength: 64 }),
        (pairs) => {
          const writer = new TpmWriter().u32(6).u32(pairs.length);
          for (const [property, value] of pairs) writer.u32(property).u32(value);
          expect([...parseTpmProperties(writer.toOctets())]).toEqual(pairs);
        },
      ),
    );
    const handles = new TpmWriter().u32(1).u32(2).u32(0x81000001).u32(0x81010001).toOctets();
    expect(parseHandles(handles)).toEqual([0x81000001, 0x81010001]);
    expectStrict(parseHandles, handles);
    expectStrict(parseTpmProperties, new TpmWriter().u32(6).u32(1).u32(0x105).u32(1).toOctets());
  });

  it('of another kind, or of more entries than a response holds, is refused', () => {
    expect(() => parseHandles(new TpmWriter().u32(6).u32(0).toOctets())).toThrow(malformed);
    expect(() => parseHandles(new TpmWriter().u32(1).u32(0xffffffff).toOctets())).toThrow(malformed);
  });
});

describe('TPMS_TIME_INFO', () => {
  it('is read strictly', () => {
    const octets = new TpmWriter().u64(9n).u64(7n).u32(5).u32(3).u8(1).toOctets();
    expect(parseTimeInfo(octets)).toEqual({ clock: 7n, resetCount: 5, restartCount: 3, safe: true });
    expectStrict(parseTimeInfo, octets);
    expect(() => parseTimeInfo(new TpmWriter().u64(9n).u64(7n).u32(5).u32(3).u8(2).toOctets())).toThrow(
      malformed,
    );
  });
});
