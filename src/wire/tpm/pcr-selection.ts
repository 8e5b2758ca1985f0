/** TPML_PCR_SELECTION (Part 2 §10.9.7) and the digest a quote carries over the selected PCRs. */
import { createHash } from 'node:crypto';
import { TpmReader, TpmWriter } from './codec.ts';
import { HASHES, type HashName } from './constants.ts';
import { KeydError } from '../problem.ts';

/** PCRs of one bank, ascending. */
export interface PcrBankSelection {
  readonly bank: HashName;
  readonly pcrs: readonly number[];
}

/** The selection, in the order the TPM is asked and answers. */
export type PcrSelection = readonly PcrBankSelection[];

/** What enrolment and re-attestation quote (DECISIONS 16): boot 0 to 9, IMA 10, shim 14. */
export const ATTESTED_PCRS: PcrSelection = [{ bank: 'sha256', pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14] }];

// PC Client TPMs have 24 PCRs: three octets of selection, in request and answer alike.
const SELECT_OCTETS = 3;
const PCR_COUNT = 8 * SELECT_OCTETS;
const MAX_BANKS = 4;

/** @throws KeydError `malformed_structure` */
export function parsePcrSelection(octets: Uint8Array): PcrSelection {
  const reader = new TpmReader(octets, 'TPML_PCR_SELECTION');
  const selection = readPcrSelection(reader);
  reader.end();
  return selection;
}

export function readPcrSelection(reader: TpmReader): PcrSelection {
  const count = reader.u32();
  if (count > MAX_BANKS) reader.fail(`${count} banks are selected; at most ${MAX_BANKS} are allowed`);
  const selection: PcrBankSelection[] = [];
  for (let index = 0; index < count; index += 1) {
    const bank = reader.hash('the bank');
    if (selection.some((earlier) => earlier.bank === bank)) reader.fail(`the bank ${bank} is selected twice`);
    const length = reader.u8();
    if (length !== SELECT_OCTETS) reader.fail(`sizeofSelect is ${length}, not ${SELECT_OCTETS}`);
    const bits = reader.octets(length);
    const pcrs: number[] = [];
    for (let pcr = 0; pcr < PCR_COUNT; pcr += 1) {
      if (((bits[pcr >> 3] ?? 0) & (1 << (pcr & 7))) !== 0) pcrs.push(pcr);
    }
    selection.push({ bank, pcrs });
  }
  return selection;
}

/** @throws KeydError `malformed_structure` for a PCR outside 0 to 23, or out of ascending order */
export function serializePcrSelection(selection: PcrSelection): Uint8Array {
  const writer = new TpmWriter().u32(selection.length);
  for (const { bank, pcrs } of selection) {
    const bits = new Uint8Array(SELECT_OCTETS);
    let previous = -1;
    for (const pcr of pcrs) {
      if (!Number.isInteger(pcr) || pcr <= previous || pcr >= PCR_COUNT) {
        throw new KeydError(
          'malformed_structure',
          `PCRs must ascend from 0 to ${PCR_COUNT - 1}; found ${pcr} after ${previous}`,
        );
      }
      bits[pcr >> 3] = (bits[pcr >> 3] ?? 0) | (1 << (pcr & 7));
      previous = pcr;
    }
    writer.hash(bank).u8(SELECT_OCTETS).octets(bits);
  }
  return writer.toOctets();
}

/** Whether two selections name the same PCRs of the same banks in the same order. */
export function samePcrSelection(a: PcrSelection, b: PcrSelection): boolean {
  return Buffer.compare(serializePcrSelection(a), serializePcrSelection(b)) === 0;
}

/** Number of PCR values that belong to a selection. */
export function selectedPcrCount(selection: PcrSelection): number {
  return selection.reduce((count, { pcrs }) => count + pcrs.length, 0);
}

/**
 * TPMS_QUOTE_INFO.pcrDigest: the hash of the signing scheme over all values in selection order.
 * @throws KeydError `malformed_structure` if number or length of the values does not fit the selection
 */
export function pcrDigest(
  hash: HashName,
  selection: PcrSelection,
  values: readonly Uint8Array[],
): Uint8Array {
  if (values.length !== selectedPcrCount(selection)) {
    throw new KeydError(
      'malformed_structure',
      `${values.length} PCR values for ${selectedPcrCount(selection)} selected PCRs`,
    );
  }
  const digest = createHash(hash);
  let next = 0;
  for (const { bank, pcrs } of selection) {
    for (const pcr of pcrs) {
      const value = values[next];
      if (value?.length !== HASHES[bank].octets) {
        throw new KeydError('malformed_structure', `the value of PCR ${pcr} is no ${bank} digest`);
      }
      digest.update(value);
      next += 1;
    }
  }
  return new Uint8Array(digest.digest());
}
