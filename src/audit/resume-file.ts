/**
 * What a start would have to read the whole log for: roots of its blocks, decisions still open, and what was
 * counted. It is derived from the log, held against its last checkpoint, and never trusted over it: one that is
 * missing, damaged or of another log is made anew from the log.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { listSegments } from '../base/journal-files.ts';
import { AUDIT_JOURNAL } from '../wire/audit-export.ts';
import { anyJson, array, integer, object, octets, oneOf, parse, text, type Infer } from '../wire/check.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { HASH_OCTETS, type Hash } from '../wire/merkle.ts';
import { KeydError } from '../wire/problem.ts';
import { BLOCK } from './tree.ts';

const FILE = 'resume';
const FORMAT = 'agentkeyd-audit-resume/1';
const count = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const MAX_OPEN = 65_536;
const MAX_SEGMENTS = 1_000_000;

const shape = object({
  format: oneOf([FORMAT]),
  origin: text({ maxLength: 128 }),
  /** Entries that all of this is over. */
  size: count,
  /** Finished segments: index of the first record, octets. */
  segments: array(object({ first: count, octets: count }), { max: MAX_SEGMENTS }),
  /** Roots of whole blocks, 32 octets each. */
  blocks: octets({ max: 2 ** 31 }),
  /** Indices of permitted decisions without outcome. */
  open: array(count, { max: MAX_OPEN }),
  tally: anyJson,
});

export interface Resume {
  readonly size: number;
  readonly blocks: readonly Hash[];
  readonly open: readonly number[];
  /** What the tally of the log had counted. */
  readonly tally: unknown;
}

/** Replaces the file atomically. The entries it is over have to be durable. */
export async function writeResume(directory: string, origin: string, resume: Resume): Promise<void> {
  const { size, open, tally } = resume;
  const finished = listSegments(directory, AUDIT_JOURNAL).slice(0, -1);
  const segments = await Promise.all(
    finished.map(async ({ file, first }) => ({ first, octets: (await stat(join(directory, file))).size })),
  );
  const blocks = encodeBase64url(Buffer.concat(resume.blocks));
  const document = JSON.stringify({ format: FORMAT, origin, size, segments, blocks, open, tally });
  const file = join(directory, FILE);
  await writeFile(`${file}.new`, `${sha256(document)}\n${document}`, { mode: 0o600, flush: true });
  await rename(`${file}.new`, file);
}

/** Undefined where there is none that is of this log, whole, and about segments that are still there. */
export function readResume(directory: string, origin: string): Resume | undefined {
  const file = join(directory, FILE);
  if (!existsSync(file)) return undefined;
  try {
    const text = readFileSync(file, 'utf8');
    const end = text.indexOf('\n');
    const document = text.slice(end + 1);
    if (text.slice(0, end) !== sha256(document)) return undefined;
    const read = parse(shape, JSON.parse(document), 'malformed_structure');
    const isOurs = read.origin === origin && hasSegments(directory, read.segments);
    if (!isOurs || read.blocks.length !== Math.floor(read.size / BLOCK) * HASH_OCTETS) return undefined;
    const { size, open, tally } = read;
    return { size, blocks: hashesOf(read.blocks), open, tally };
  } catch (thrown) {
    // An older format, or damage that kept its checksum: what it says can be read from the log.
    if (thrown instanceof KeydError || thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

/** Whether the finished segments are as long as they were; what is in them, `agentkey audit verify` tells. */
function hasSegments(directory: string, expected: Infer<typeof shape>['segments']): boolean {
  const found = listSegments(directory, AUDIT_JOURNAL);
  return expected.every(({ first, octets: size }, position) => {
    const segment = found[position];
    return segment?.first === first && statSync(join(directory, segment.file)).size === size;
  });
}

function hashesOf(octetsOfAll: Uint8Array): readonly Hash[] {
  return Array.from({ length: octetsOfAll.length / HASH_OCTETS }, (_, i) =>
    octetsOfAll.slice(i * HASH_OCTETS, (i + 1) * HASH_OCTETS),
  );
}

function sha256(document: string): string {
  return createHash('sha256').update(document).digest('hex');
}
