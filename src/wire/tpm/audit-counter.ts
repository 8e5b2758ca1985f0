/**
 * The NV counter that anchors ledger and audit log: what the daemon defines and the issuer accepts, octet for
 * octet (TPM 2.0 Part 2 §13.4). Only its auth value increments it, it is written at every increment (a counter
 * that is `orderly` jumps after a power loss), and wrong guesses lock nothing.
 */
import { TPM_NT, TPMA_NV } from './constants.ts';
import type { NvPublic } from './nv-public.ts';

/** A counter is a UINT64, big-endian. */
export const COUNTER_OCTETS = 8;
/** Indices of the owner (TCG Registry of Reserved TPM 2.0 Handles §2.2.2): from, to (inclusive). */
export const OWNER_INDICES = { first: 0x0180_0000, last: 0x01bf_ffff } as const;

const ATTRIBUTES = TPM_NT.counter | TPMA_NV.authWrite | TPMA_NV.authRead | TPMA_NV.ownerRead | TPMA_NV.noDA;

/** Its public area; `isWritten` from the first increment on, which is part of the Name. */
export function auditCounterPublic(nvIndex: number, isWritten: boolean): NvPublic {
  return {
    nvIndex,
    nameAlg: 'sha256',
    attributes: (ATTRIBUTES | (isWritten ? TPMA_NV.written : 0)) >>> 0,
    authPolicy: new Uint8Array(),
    dataSize: COUNTER_OCTETS,
  };
}

/** Why an index is not such a counter in use; undefined where it is. */
export function auditCounterFault(nv: NvPublic): string | undefined {
  const wanted = auditCounterPublic(nv.nvIndex, true);
  if (nv.nvIndex < OWNER_INDICES.first || nv.nvIndex > OWNER_INDICES.last)
    return 'it is no index of the owner';
  if (nv.nameAlg !== wanted.nameAlg) return `its Name is by ${nv.nameAlg}`;
  if (nv.attributes !== wanted.attributes) {
    return `its attributes are 0x${nv.attributes.toString(16)}, not 0x${wanted.attributes.toString(16)}`;
  }
  if (nv.authPolicy.length > 0) return 'it has a policy';
  return nv.dataSize === wanted.dataSize ? undefined : `it has ${nv.dataSize} octets`;
}

/** The value of a counter, from its contents; undefined where they are none. */
export function counterValue(contents: Uint8Array): bigint | undefined {
  if (contents.length !== COUNTER_OCTETS) return undefined;
  return new DataView(contents.buffer, contents.byteOffset, COUNTER_OCTETS).getBigUint64(0);
}
