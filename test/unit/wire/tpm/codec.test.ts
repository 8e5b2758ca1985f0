import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TpmReader, TpmWriter, sameOctets } from '../../../../src/wire/tpm/codec.ts';
import { TPMA_NV } from '../../../../src/wire/tpm/constants.ts';
import { nvName, parseNvPublic, serializeNvPublic } from '../../../../src/wire/tpm/nv-public.ts';
import { expectStrict, fromHex, malformed, toHex, vectors } from './vectors.ts';

describe('TpmReader and TpmWriter', () => {
  it('are inverse for every integer and TPM2B', () => {
    const u = (bits: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** bits - 1 });
    const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    fc.assert(
      fc.property(u(8), u(16), u(32), u64, fc.uint8Array({ maxLength: 300 }), (a, b, c, d, e) => {
        const octets = new TpmWriter().u8(a).u16(b).u32(c).u64(d).tpm2b(e).toOctets();
        const reader = new TpmReader(octets, 'test');
        expect([reader.u8(), reader.u16(), reader.u32(), reader.u64()]).toEqual([a, b, c, d]);
        expect(reader.tpm2b(300, 'e')).toEqual(e);
        reader.end();
      }),
    );
  });

  it('copy: the input can change afterwards', () => {
    for (const input of [Uint8Array.of(0, 1, 9), Buffer.of(0, 1, 9)]) {
      const read = new TpmReader(input, 'test').tpm2b(1, 'field');
      input[2] = 0;
      expect(read).toEqual(Uint8Array.of(9));
    }
  });

  it('refuse what does not fit', () => {
    expect(() => new TpmReader(Uint8Array.of(0, 2, 1, 1), 'test').tpm2b(1, 'field')).toThrow(malformed);
    for (const wrong of [-1, 256, 0.5, Number.NaN])
      expect(() => new TpmWriter().u8(wrong)).toThrow(malformed);
    expect(() => new TpmWriter().tpm2b(new Uint8Array(65536))).toThrow(malformed);
    for (const wrong of [-1n, 2n ** 64n]) expect(() => new TpmWriter().u64(wrong)).toThrow(malformed);
  });

  it('compare octets', () => {
    expect(sameOctets(Uint8Array.of(1, 2), Buffer.of(1, 2))).toBe(true);
    expect(sameOctets(Uint8Array.of(1, 2), Uint8Array.of(1))).toBe(false);
  });
});

describe('TPMS_NV_PUBLIC', () => {
  // The counter that make.sh defines, written once.
  const counter = {
    nvIndex: 0x01500011,
    nameAlg: 'sha256',
    attributes:
      TPMA_NV.authWrite | 0x10 | TPMA_NV.ownerRead | TPMA_NV.authRead | TPMA_NV.noDA | TPMA_NV.written,
    authPolicy: new Uint8Array(),
    dataSize: 8,
  } as const;

  it('has the Name that tpm2_nvreadpublic printed', () => {
    expect(toHex(nvName(counter))).toBe(vectors.nvName);
  });

  it('is read strictly', () => {
    const octets = serializeNvPublic(counter);
    expect(parseNvPublic(octets)).toEqual(counter);
    expectStrict(parseNvPublic, octets);
    expect(() => parseNvPublic(fromHex(`81${toHex(octets).slice(2)}`))).toThrow(malformed);
  });
});
