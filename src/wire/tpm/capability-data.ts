/** TPMS_CAPABILITY_DATA (Part 2 §10.10.2) and TPMS_TIME_INFO (§10.11.6): what a TPM says about itself, unsigned. */
import { TpmReader } from './codec.ts';
import { TPM_CAP } from './constants.ts';

/** TPMS_TIME_INFO without `time`: counters of power cycles, which only the AK's signature makes believable. */
export interface TimeInfo {
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly safe: boolean;
}

// A TPML of this many entries fills the largest response a TPM sends.
const MAX_ENTRIES = 512;

/** TPML_TAGGED_TPM_PROPERTY: TPM_PT to value. @throws KeydError `malformed_structure` */
export function parseTpmProperties(capabilityData: Uint8Array): ReadonlyMap<number, number> {
  const reader = open(capabilityData, TPM_CAP.TPM_PROPERTIES);
  const properties = new Map<number, number>();
  for (let count = readCount(reader); count > 0; count -= 1) properties.set(reader.u32(), reader.u32());
  reader.end();
  return properties;
}

/** TPML_HANDLE. @throws KeydError `malformed_structure` */
export function parseHandles(capabilityData: Uint8Array): readonly number[] {
  const reader = open(capabilityData, TPM_CAP.HANDLES);
  const handles: number[] = [];
  for (let count = readCount(reader); count > 0; count -= 1) handles.push(reader.u32());
  reader.end();
  return handles;
}

/** @throws KeydError `malformed_structure` */
export function parseTimeInfo(octets: Uint8Array): TimeInfo {
  const reader = new TpmReader(octets, 'TPMS_TIME_INFO');
  reader.u64();
  const clock = reader.u64();
  const resetCount = reader.u32();
  const restartCount = reader.u32();
  const safe = reader.u8();
  if (safe > 1) reader.fail(`safe is ${safe}, neither YES nor NO`);
  reader.end();
  return { clock, resetCount, restartCount, safe: safe === 1 };
}

function open(capabilityData: Uint8Array, expected: number): TpmReader {
  const reader = new TpmReader(capabilityData, 'TPMS_CAPABILITY_DATA');
  const capability = reader.u32();
  if (capability !== expected) reader.fail(`it holds capability ${capability}, not ${expected}`);
  return reader;
}

function readCount(reader: TpmReader): number {
  const count = reader.u32();
  if (count > MAX_ENTRIES) reader.fail(`it has ${count} entries; at most ${MAX_ENTRIES} are allowed`);
  return count;
}
