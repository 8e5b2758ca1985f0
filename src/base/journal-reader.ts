import { join } from 'node:path';
import { listSegments } from './journal-files.ts';
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

/** As `readRecords`, a segment at a time. */
export function* recordBatches(
  directory: string,
  name: string,
  to: number,
): Generator<readonly Uint8Array[], void> {
  const firsts = listSegments(directory, name).map(({ first }) => first);
  for (const [position, first] of firsts.entries()) {
    if (first >= to) return;
    const end = Math.min(firsts[position + 1] ?? to, to);
    yield readRecords(directory, name, first, end);
  }
}

/** What is left when all that can be read of a journal was read. */
export interface JournalScan {
  /** Octets behind the last record of a segment. */
  readonly tails: readonly { readonly file: string; readonly octets: number; readonly isLast: boolean }[];
}

/**
 * Reads a journal as far as it can be read, and changes nothing: for a copy that nobody writes to.
 * @param onRecord `isIntact` is false where a record's checksum is not its own
 */
export function scanJournal(
  directory: string,
  name: string,
  onRecord: (record: Uint8Array, isIntact: boolean) => void,
): JournalScan {
  const segments = listSegments(directory, name);
  const visit = (isIntact: boolean) => (record: Uint8Array) => {
    onRecord(record, isIntact);
    return true;
  };
  const tails = segments.map(({ file }, position) => {
    const { tail } = readSegment(join(directory, file), visit(true), visit(false));
    return { file, octets: tail, isLast: position === segments.length - 1 };
  });
  return { tails: tails.filter(({ octets }) => octets > 0) };
}
