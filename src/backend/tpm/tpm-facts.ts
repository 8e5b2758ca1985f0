/** What a TPM claims about itself (TPM_PT), for people and for telling simulators apart. */
import { parseHandles, parseTpmProperties } from '../../wire/tpm/capability-data.ts';
import { TPM_CAP, TPM_PT } from '../../wire/tpm/constants.ts';
import type { AssuranceLevel } from '../../wire/assurance.ts';
import type { EsysConnection } from './esys.ts';

export interface TpmFacts {
  /** TCG vendor id as text: `INTC`, `STM `, `IBM`. */
  readonly manufacturer: string;
  readonly vendor: string;
  /** `major.minor.build.revision` of TPM_PT_FIRMWARE_VERSION_1 and _2. */
  readonly firmwareVersion: string;
  /** Library specification revision, `1.64`. */
  readonly revision: string;
}

const PROPERTY_COUNT = 64;
/** TPMA_PERMANENT.inLockout (Part 2 §8.6). */
const IN_LOCKOUT = 0x200;

export async function readFacts(esys: EsysConnection): Promise<TpmFacts> {
  const properties = await readProperties(esys, TPM_PT.FAMILY_INDICATOR);
  const value = (property: number): number => properties.get(property) ?? 0;
  const [first, second] = [value(TPM_PT.FIRMWARE_VERSION_1), value(TPM_PT.FIRMWARE_VERSION_2)];
  const strings = [
    TPM_PT.VENDOR_STRING_1,
    TPM_PT.VENDOR_STRING_2,
    TPM_PT.VENDOR_STRING_3,
    TPM_PT.VENDOR_STRING_4,
  ];
  return {
    manufacturer: text(value(TPM_PT.MANUFACTURER)),
    vendor: strings.map((property) => text(value(property))).join(''),
    firmwareVersion: [first >>> 16, first & 0xffff, second >>> 16, second & 0xffff].join('.'),
    revision: (value(TPM_PT.REVISION) / 100).toFixed(2),
  };
}

/** Whether authorised use of DA-protected objects is refused now; asking is no attempt. */
export async function isInLockout(esys: EsysConnection): Promise<boolean> {
  const properties = await readProperties(esys, TPM_PT.PERMANENT, 1);
  return ((properties.get(TPM_PT.PERMANENT) ?? 0) & IN_LOCKOUT) !== 0;
}

/** Handles that exist from `first` to `last`, at most 64. */
export async function existingHandles(
  esys: EsysConnection,
  first: number,
  last: number,
): Promise<readonly number[]> {
  const reply = await esys.getCapability({ capability: TPM_CAP.HANDLES, property: first, count: 64 });
  return parseHandles(reply.capabilityData).filter((handle) => handle >= first && handle <= last);
}

/** The level a backend may state on its own, and why (attestation reference §3). */
export function assuranceOf(facts: TpmFacts | undefined, tcti: string): readonly [AssuranceLevel, string] {
  if (/^(?:swtpm|mssim|libtpms)\b/.test(tcti))
    return ['software', `the TPM is a simulator behind ${tcti.split(':')[0] ?? ''}`];
  if (facts?.manufacturer === 'IBM' && facts.vendor.startsWith('SW')) {
    return ['software', `the TPM calls itself ${facts.manufacturer} ${facts.vendor}, which is libtpms`];
  }
  return ['asserted', 'what a TPM says of itself is no evidence; an issuer can verify it by attestation'];
}

async function readProperties(
  esys: EsysConnection,
  property: number,
  count = PROPERTY_COUNT,
): Promise<ReadonlyMap<number, number>> {
  const reply = await esys.getCapability({ capability: TPM_CAP.TPM_PROPERTIES, property, count });
  return parseTpmProperties(reply.capabilityData);
}

/** Four characters in a UINT32, without NUL and other octets that are no printable ASCII. */
function text(value: number): string {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value);
  return octets
    .toString('latin1')
    .replaceAll(/[^\x20-\x7e]/g, '')
    .trimEnd();
}
