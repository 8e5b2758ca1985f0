/** TPMS_NV_PUBLIC (Part 2 §13.5): what an NV index is. Its Name covers exactly these octets. */
import { TpmReader, TpmWriter, hex } from './codec.ts';
import { HASHES, type HashName } from './constants.ts';
import { computeName } from './name.ts';

export interface NvPublic {
  readonly nvIndex: number;
  readonly nameAlg: HashName;
  /** TPMA_NV, with the index type (TPM_NT) in bits 4 to 7. */
  readonly attributes: number;
  readonly authPolicy: Uint8Array;
  /** Octets of the index's content. */
  readonly dataSize: number;
}

/** @throws KeydError `malformed_structure` */
export function parseNvPublic(octets: Uint8Array): NvPublic {
  const reader = new TpmReader(octets, 'TPMS_NV_PUBLIC');
  const nvIndex = reader.u32();
  if (nvIndex >>> 24 !== 0x01) reader.fail(`${hex(nvIndex, 8)} is no NV index`);
  const nameAlg = reader.hash('nameAlg');
  const attributes = reader.u32();
  const authPolicy = reader.tpm2b(HASHES[nameAlg].octets, 'authPolicy');
  const dataSize = reader.u16();
  reader.end();
  return { nvIndex, nameAlg, attributes, authPolicy, dataSize };
}

export function serializeNvPublic(nv: NvPublic): Uint8Array {
  return new TpmWriter()
    .u32(nv.nvIndex)
    .hash(nv.nameAlg)
    .u32(nv.attributes)
    .tpm2b(nv.authPolicy)
    .u16(nv.dataSize)
    .toOctets();
}

/** The index's Name. */
export function nvName(nv: NvPublic): Uint8Array {
  return computeName(nv.nameAlg, serializeNvPublic(nv));
}
