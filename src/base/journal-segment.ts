/** The octets of one journal segment: framing, and reading what may have been torn. */
import { closeSync, openSync, readSync, fstatSync } from 'node:fs';
import { crc32 } from 'node:zlib';

/** Before each record. */
export const HEADER_OCTETS = 8;
const READ_OCTETS = 4 * 1024 * 1024;
const MAX_RECORD_OCTETS = 1024 * 1024;

/** `length (u32) ‖ CRC-32 (u32) ‖ octets`, big-endian; the CRC is over length and octets. */
export function frameRecord(record: Uint8Array): Uint8Array {
  const framed = Buffer.allocUnsafe(HEADER_OCTETS + record.length);
  framed.writeUInt32BE(record.length, 0);
  framed.set(record, HEADER_OCTETS);
  framed.writeUInt32BE(checksum(framed.subarray(0, 4), framed.subarray(HEADER_OCTETS)), 4);
  return framed;
}

export interface SegmentRead {
  /** Whole records, and the octets they take. */
  readonly records: number;
  readonly size: number;
  /** Octets of the file. */
  readonly length: number;
  /** Octets of what is unfinished behind the records: up to the last that is not zero, for zeros are written ahead. */
  readonly tail: number;
  /** Whole records follow the damage, so that no crash made it. */
  readonly isDamaged: boolean;
}

/** Where reading begins: the record `record` of the segment, at `octet`. */
export interface SegmentStart {
  readonly record: number;
  readonly octet: number;
}

/**
 * Reads a segment record by record.
 * @param onRecord gets a view that is good until it returns; false ends the reading
 * @param onDamaged gets a record whose checksum is not its own and that whole ones follow; false ends the reading
 */
export function readSegment(
  path: string,
  onRecord: (record: Uint8Array, at: number) => boolean,
  onDamaged?: (record: Uint8Array, at: number) => boolean,
  start: SegmentStart = { record: 0, octet: 0 },
): SegmentRead {
  const fd = openSync(path, 'r');
  try {
    const total = fstatSync(fd).size;
    let buffer: Buffer = Buffer.allocUnsafe(0);
    let offset = 0;
    let size = start.octet;
    let records = start.record;
    for (;;) {
      let record = recordAt(buffer, offset);
      if (typeof record === 'string' && size + (buffer.length - offset) < total && !isAhead(buffer, offset)) {
        buffer = refill(fd, buffer.subarray(offset), size + (buffer.length - offset));
        offset = 0;
        continue;
      }
      let next = onRecord;
      if (record === 'bad' && onDamaged !== undefined && hasWholeRecord(buffer.subarray(offset))) {
        record = buffer.subarray(
          offset + HEADER_OCTETS,
          offset + HEADER_OCTETS + buffer.readUInt32BE(offset),
        );
        next = onDamaged;
      }
      if (typeof record === 'string') {
        const tail = unfinishedOctets(fd, size, total);
        return {
          records,
          size,
          length: total,
          tail,
          isDamaged: tail > 0 && hasWholeRecord(buffer.subarray(offset)),
        };
      }
      const goOn = next(record, records);
      records += 1;
      offset += HEADER_OCTETS + record.length;
      size += HEADER_OCTETS + record.length;
      if (!goOn) return { records, size, length: total, tail: 0, isDamaged: false };
    }
  } finally {
    closeSync(fd);
  }
}

/** Whether what is read suffices to see the record at `offset` and the one behind it. */
function isAhead(buffer: Buffer, offset: number): boolean {
  return buffer.length - offset >= 2 * (HEADER_OCTETS + MAX_RECORD_OCTETS);
}

function refill(fd: number, rest: Buffer, position: number): Buffer {
  const next = Buffer.allocUnsafe(rest.length + READ_OCTETS);
  rest.copy(next);
  const read = readSync(fd, next, rest.length, READ_OCTETS, position);
  return next.subarray(0, rest.length + read);
}

/** From `from` to behind the last octet before `to` that is not zero. */
function unfinishedOctets(fd: number, from: number, to: number): number {
  const chunk = Buffer.allocUnsafe(Math.min(to - from, READ_OCTETS));
  let end = from;
  for (let position = from; position < to;) {
    const read = chunk.subarray(0, readSync(fd, chunk, 0, chunk.length, position));
    if (read.length === 0) break;
    const last = read.findLastIndex((octet) => octet !== 0);
    if (last >= 0) end = position + last + 1;
    position += read.length;
  }
  return end - from;
}

function recordAt(buffer: Buffer, offset: number): Uint8Array | 'more' | 'bad' {
  if (buffer.length - offset < HEADER_OCTETS) return 'more';
  const length = buffer.readUInt32BE(offset);
  if (length === 0 || length > MAX_RECORD_OCTETS) return 'bad';
  const end = offset + HEADER_OCTETS + length;
  if (buffer.length < end) return 'more';
  const record = buffer.subarray(offset + HEADER_OCTETS, end);
  const isWhole = checksum(buffer.subarray(offset, offset + 4), record) === buffer.readUInt32BE(offset + 4);
  return isWhole ? record : 'bad';
}

/**
 * Whether a whole record begins anywhere after the first octet of `octets`. A crash tears the last batch, of
 * which any part may be missing, so a record may be whole behind a torn one: only then the torn one is all
 * zeros or cut. What was whole and was changed has no such excuse.
 */
function hasWholeRecord(octets: Buffer): boolean {
  const length = octets.length < 4 ? 0 : octets.readUInt32BE(0);
  const next = HEADER_OCTETS + length;
  if (length === 0 || length > MAX_RECORD_OCTETS || octets.length <= next) return false;
  return typeof recordAt(octets, next) !== 'string';
}

function checksum(length: Uint8Array, octets: Uint8Array): number {
  return crc32(octets, crc32(length));
}
