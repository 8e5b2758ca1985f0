import { readFileSync } from 'node:fs';

/** The octets of a journal's segment that somebody writes to, without the zeros ahead of its records. */
export function writtenRecords(segment: string): Buffer {
  const octets = readFileSync(segment);
  return octets.subarray(0, octets.findLastIndex((octet) => octet !== 0) + 1);
}
