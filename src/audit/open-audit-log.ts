/** Opens the audit log: what a crash left is closed, and what was changed from outside is not gone on with. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openJournal } from '../base/journal.ts';
import { JournalReader } from '../base/journal-reader.ts';
import { parseAuditEntry, type AuditEntry } from '../wire/audit-entry.ts';
import { AUDIT_JOURNAL } from '../wire/audit-export.ts';
import { leafHash } from '../wire/merkle.ts';
import { KeydError } from '../wire/problem.ts';
import { AuditLog, type AuditLogOptions, type Opened } from './audit-log.ts';
import { readCheckpointFile, type Checkpoint } from './checkpoint-file.ts';
import { DiskReserve } from './disk-reserve.ts';
import { readResume, type Resume } from './resume-file.ts';
import { BLOCK, LogTree } from './tree.ts';

/** Small, because a start reads at least a whole one. */
const SEGMENT_OCTETS = 8 * 1024 * 1024;
const RESERVE_OCTETS = 4 * 1024 * 1024;

/**
 * Opens the log, closes decisions that a crash left without outcome, and notes how many entries no checkpoint
 * was over: those nobody vouches for but the file they stand in. It reads what came since the last checkpoint,
 * or all where nothing fits to resume from.
 * @throws KeydError `audit_unavailable` for a log that can not be read, or that does not hold its own checkpoint
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { directory } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const origin = readOrigin(directory);
  const latest = readCheckpointFile(directory);
  const reserve = new DiskReserve(directory, options.reserveOctets ?? RESERVE_OCTETS);
  reserve.take();
  const { opened, torn } = await replay(options, reserve, origin, latest);
  const log = new AuditLog(options, opened);
  const unsigned = log.size - (latest?.head.size ?? 0);
  log.append({ at: log.now(), kind: 'event', event: 'start', detail: { unsigned, torn } });
  for (const decision of [...opened.open]) {
    const unknown = { at: log.now(), kind: 'outcome', decision, effect: 'outcome-unknown' } as const;
    const { index } = log.append(unknown);
    options.tally?.entry(unknown, index);
  }
  await opened.journal.flush();
  return log;
}

interface Replayed {
  readonly opened: Opened;
  /** Octets of an unfinished entry that were cut. */
  readonly torn: number;
}

async function replay(
  options: AuditLogOptions,
  reserve: DiskReserve,
  origin: string,
  latest: Checkpoint | undefined,
): Promise<Replayed> {
  const resume = latest === undefined ? undefined : resumable(options, origin, latest);
  const resumed =
    resume === undefined ? undefined : await replayFrom(options, reserve, origin, latest, resume);
  if (resumed !== undefined && resumed.wrong === undefined) return resumed;
  await resumed?.opened.journal.close();
  options.tally?.clear();
  const whole = await replayFrom(options, reserve, origin, latest, undefined);
  if (whole.wrong === undefined) return { ...whole, torn: whole.torn + (resumed?.torn ?? 0) };
  await whole.opened.journal.close();
  throw new KeydError(
    'audit_unavailable',
    `${options.directory} was changed from outside: ${whole.wrong}; keep it as evidence, see agentkey audit verify --directory, and move it away to begin a new log`,
  );
}

/** What to resume from; it is no newer than the checkpoint, which has to bear it out. */
function resumable(
  { directory, tally }: AuditLogOptions,
  origin: string,
  latest: Checkpoint,
): Resume | undefined {
  const resume = readResume(directory, origin);
  if (resume === undefined || resume.size === 0 || resume.size > latest.head.size) return undefined;
  try {
    tally?.restore(resume.tally);
    const reader = new JournalReader(directory, AUDIT_JOURNAL);
    for (const index of resume.open) {
      const [octets = new Uint8Array()] = reader.read(index, index + 1);
      tally?.entry(readEntry(octets, index), index);
    }
  } catch (thrown) {
    if (thrown instanceof KeydError) return undefined;
    throw thrown;
  }
  return resume;
}

/** `wrong` says why the log, or what it was resumed from, is not what was last signed. */
async function replayFrom(
  options: AuditLogOptions,
  reserve: DiskReserve,
  origin: string,
  latest: Checkpoint | undefined,
  resume: Resume | undefined,
): Promise<Replayed & { readonly wrong: string | undefined }> {
  const { directory, tally } = options;
  const counted = resume?.size ?? 0;
  // The last block is read in any case: the next entry names the one before it.
  const tree = new LogTree(resume?.blocks.slice(0, Math.floor((counted - 1) / BLOCK)));
  const open = new Set<number>(resume?.open);
  let torn = 0;
  let wrong = latest === undefined ? undefined : wrongHead(tree, origin, latest);
  const journal = await openJournal({
    directory,
    name: AUDIT_JOURNAL,
    maxSegmentOctets: options.maxSegmentOctets ?? SEGMENT_OCTETS,
    failure: 'audit_unavailable',
    from: tree.size,
    onFull: () => {
      const isGiven = reserve.spend();
      if (isGiven) options.onFull?.();
      return isGiven;
    },
    onRecord: (record, index) => {
      if (index !== tree.size) wrong ??= `entry ${tree.size} is missing`;
      tree.append(leafHash(record));
      if (latest !== undefined) wrong ??= wrongHead(tree, origin, latest);
      if (index >= counted) follow(readEntry(record, index), index, open, tally);
    },
    onTornTail: (octets) => {
      torn = octets;
      options.onTornTail?.(octets);
    },
  });
  if (latest !== undefined && latest.head.size > tree.size) {
    wrong ??= `it has ${tree.size} entries, and a checkpoint over ${latest.head.size}`;
  }
  if (journal.length !== tree.size) wrong ??= `it has ${journal.length} entries of ${tree.size}`;
  return { opened: { journal, tree, reserve, origin, latest, open }, torn, wrong };
}

/** Decisions without outcome, and what is counted. */
function follow(entry: AuditEntry, index: number, open: Set<number>, tally: AuditLogOptions['tally']): void {
  tally?.entry(entry, index);
  if (entry.kind === 'decision' && entry.effect === 'permit') open.add(index);
  if (entry.kind === 'outcome') open.delete(entry.decision);
}

function readEntry(octets: Uint8Array, index: number): AuditEntry {
  try {
    return parseAuditEntry(octets);
  } catch (cause) {
    throw new KeydError('audit_unavailable', `entry ${index} of the audit log can not be read`, { cause });
  }
}

/** The log goes on only where it holds what was last signed of it. */
function wrongHead(tree: LogTree, origin: string, { head }: Checkpoint): string | undefined {
  if (head.size !== tree.size) return undefined;
  if (head.origin === origin && Buffer.compare(head.root, tree.root()) === 0) return undefined;
  return `its first ${tree.size} entries are not those of its last checkpoint`;
}

/** A name of its own for every log, so that no checkpoint stands for another. */
function readOrigin(directory: string): string {
  const file = join(directory, 'origin');
  if (existsSync(file)) return readFileSync(file, 'utf8').trim();
  const origin = `agentkeyd/${randomUUID()}`;
  writeFileSync(file, `${origin}\n`, { mode: 0o600, flag: 'wx', flush: true });
  return origin;
}
