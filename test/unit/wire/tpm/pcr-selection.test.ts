import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HASHES } from '../../../../src/wire/tpm/constants.ts';
import {
  ATTESTED_PCRS,
  parsePcrSelection,
  pcrDigest,
  samePcrSelection,
  selectedPcrCount,
  serializePcrSelection,
  type PcrSelection,
} from '../../../../src/wire/tpm/pcr-selection.ts';
import { expectStrict, fromHex, malformed, toHex } from './vectors.ts';

const bank = fc.constantFrom('sha1' as const, 'sha256' as const, 'sha384' as const, 'sha512' as const);
const pcrs = fc.uniqueArray(fc.integer({ min: 0, max: 23 })).map((numbers) => numbers.sort((a, b) => a - b));
const selection: fc.Arbitrary<PcrSelection> = fc.uniqueArray(fc.record({ bank, pcrs }), {
  selector: (entry) => entry.bank,
});

describe('TPML_PCR_SELECTION', () => {
  it('of enrolment is sha256:0-10,14, as tpm2_print shows it', () => {
    expect(toHex(serializePcrSelection(ATTESTED_PCRS))).toBe('00000001000b03ff4700');
    expect(selectedPcrCount(ATTESTED_PCRS)).toBe(12);
    expectStrict(parsePcrSelection, serializePcrSelection(ATTESTED_PCRS));
  });

  it('serializes and parses any selection to itself', () => {
    fc.assert(
      fc.property(selection, (value) => {
        expect(parsePcrSelection(serializePcrSelection(value))).toEqual(value);
      }),
    );
  });

  it('refuses too many banks, a bank twice, an unknown bank, and another length than 24 PCRs', () => {
    for (const wrong of [
      '00000005',
      'ffffffff',
      '00000002000b03010000000b03010000',
      '00000001001203010000',
      '00000001000b020100',
      '00000001000b0401000000',
    ]) {
      expect(() => parsePcrSelection(fromHex(wrong)), wrong).toThrow(malformed);
    }
  });

  it('refuses PCRs that do not ascend from 0 to 23', () => {
    for (const wrong of [[24], [-1], [1, 1], [2, 1], [0.5]]) {
      expect(() => serializePcrSelection([{ bank: 'sha256', pcrs: wrong }]), String(wrong)).toThrow(
        malformed,
      );
    }
  });

  it('tells selections apart by bank, PCR and order', () => {
    const one: PcrSelection = [{ bank: 'sha256', pcrs: [0] }];
    expect(samePcrSelection(one, [{ bank: 'sha256', pcrs: [0] }])).toBe(true);
    for (const other of [
      [],
      [{ bank: 'sha1', pcrs: [0] }],
      [{ bank: 'sha256', pcrs: [1] }],
    ] as PcrSelection[]) {
      expect(samePcrSelection(one, other)).toBe(false);
    }
  });

  it('digests only values that are as long as their bank', () => {
    const values = [new Uint8Array(HASHES.sha256.octets)];
    expect(pcrDigest('sha256', [{ bank: 'sha256', pcrs: [0] }], values)).toHaveLength(32);
    expect(() => pcrDigest('sha256', [{ bank: 'sha384', pcrs: [0] }], values)).toThrow(malformed);
    expect(() => pcrDigest('sha256', [], values)).toThrow(malformed);
  });
});
