import { join } from 'node:path';
import { listSegments } from './journal-files.ts';
import { HEADER_OCTETS, readSegment } from './journal-segment.ts';

/** A place is remembered for every so many records of a segment. */
const MARK = 256;

/**
 * Records by their index, of a journal that somebody may be writing to. It remembers where in a segment records
 * begin as it passes them, so that whoever reads on does not read from the start again: eight octets for every
 * 256 records that were read.
 */
export class JournalReader {
  readonly #directory: string;
  readonly #name: string;
  /** By file: where record 0, 256, 512, ... begins. */
  readonly #marks = new Map<string, number[]>();

  constructor(directory: string, name: string) {
    this.#directory = directory;
    this.#name = name;
  }

  /** Records `from` to `to`, exclusive, as far as they are on disk. Octets are copies. */
  read(from: number, to: number): readonly Uint8Array[] {
    const records: Uint8Array[] = [];
    const segments = listSegments(this.#directory, this.#name);
    for (const [position, { file, first }] of segments.entries()) {
      const next = segments[position + 1]?.first ?? Infinity;
      if (first >= to || next <= from) continue;
      this.#readSegment(file, Math.max(0, from - first), to - first, records);
    }
    return records;
  }

  /** All records up to `to`, exclusive, a segment at a time. */
  *batches(to: number): Generator<readonly Uint8Array[], void> {
    const firsts = listSegments(this.#directory, this.#name).map(({ first }) => first);
    for (const [position, first] of firsts.entries()) {
      if (first >= to) return;
      yield this.read(first, Math.min(firsts[position + 1] ?? to, to));
    }
  }

  #readSegment(file: string, from: number, to: number, records: Uint8Array[]): void {
    const marks = this.#marks.get(file) ?? [0];
    this.#marks.set(file, marks);
    const mark = Math.min(marks.length - 1, Math.floor(from / MARK));
    const start = { record: mark * MARK, octet: marks[mark] ?? 0 };
    let octet = start.octet;
    const onRecord = (record: Uint8Array, at: number): boolean => {
      if (at >= from && at < to) records.push(Uint8Array.from(record));
      octet += HEADER_OCTETS + record.length;
      if (at + 1 === marks.length * MARK) marks.push(octet);
      return at + 1 < to;
    };
    readSegment(join(this.#directory, file), onRecord, undefined, start);
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
