import { join } from 'node:path';
import { listSegments } from './journal.ts';
import { readSegment } from './journal-segment.ts';

/** Records `from` to `to`, exclusive, as far as they are on disk. Octets are copies. */
export function readRecords(
  directory: string,
  name: string,
  from: number,
  to: number,
): readonly Uint8Array[] {
  const records: Uint8Array[] = [];
  const segments = listSegments(directory, name);
  for (const [position, { file, first }] of segments.entries()) {
    const next = segments[position + 1]?.first ?? Infinity;
    if (first >= to || next <= from) continue;
    readSegment(join(directory, file), (record, at) => {
      const index = first + at;
      if (index >= from && index < to) records.push(Uint8Array.from(record));
      return index + 1 < to;
    });
  }
  return records;
}
