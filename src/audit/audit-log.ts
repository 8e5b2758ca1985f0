/**
 * The append-only log of what was decided and what came of it: a journal, the Merkle tree over its entries, and
 * checkpoints that a hardware key signs. A decision is durable before `append` resolves; nothing that depends on
 * it is released earlier (S16).
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openJournal, type Journal } from '../base/journal.ts';
import { readRecords, recordBatches } from '../base/journal-reader.ts';
import {
  encodeAuditEntry,
  NO_ENTRY,
  parseAuditEntry,
  type AuditEntry,
  type AuditRecord,
} from '../wire/audit-entry.ts';
import { AUDIT_JOURNAL, encodeExportHeader } from '../wire/audit-export.ts';
import { checkpointText, signedCheckpoint, type TreeHead } from '../wire/checkpoint.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { consistencyProof, inclusionProof, leafHash, type Hash } from '../wire/merkle.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { readCheckpointFile, writeCheckpointFile, type Checkpoint } from './checkpoint-file.ts';
import { LogTree } from './tree.ts';

/** The host's audit key: in hardware, addressed by no endpoint (DECISIONS 11). */
export interface CheckpointSigner {
  readonly publicJwk: PublicJwk;
  /** ES256, r‖s. */
  sign(octets: Uint8Array): Promise<Uint8Array>;
}

export interface AuditLogOptions {
  readonly directory: string;
  /** Undefined while there is no audit key: entries are kept, checkpoints are not made. */
  readonly signer: () => Promise<CheckpointSigner | undefined>;
  /** The last entries that are there already (16,384 or more), in order. */
  readonly onEntry?: (entry: AuditEntry, index: number) => void;
  readonly onTornTail?: (octets: number) => void;
  /** Why the log ends without a checkpoint over its end, where it does. */
  readonly onUnsigned?: (error: KeydError) => void;
  readonly maxSegmentOctets?: number;
  readonly now?: () => number;
}

export type { Checkpoint } from './checkpoint-file.ts';

/** Small, because a proof may read a whole one. */
const SEGMENT_OCTETS = 8 * 1024 * 1024;
const LINE_FEED = Buffer.from('\n');
/** Entries behind the end that are read for decisions without outcome; more are never under way at once. */
const OPEN_WINDOW = 16_384;

/**
 * Opens the log, closes decisions that a crash left without outcome, and notes how many entries no checkpoint
 * was over: those nobody vouches for but the file they stand in.
 * @throws KeydError `audit_unavailable` for a log that can not be read, or that does not hold its own checkpoint
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { directory } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const origin = readOrigin(directory);
  const latest = readCheckpointFile(directory);
  const tree = new LogTree();
  const recent: { readonly index: number; readonly octets: Uint8Array }[] = [];
  let torn = 0;
  requireHeld(directory, origin, tree, latest);
  const journal = await openJournal({
    directory,
    name: AUDIT_JOURNAL,
    maxSegmentOctets: options.maxSegmentOctets ?? SEGMENT_OCTETS,
    failure: 'audit_unavailable',
    onRecord: (record, index) => {
      tree.append(leafHash(record));
      requireHeld(directory, origin, tree, latest);
      recent.push({ index, octets: Uint8Array.from(record) });
      if (recent.length > 2 * OPEN_WINDOW) recent.splice(0, OPEN_WINDOW);
    },
    onTornTail: (octets) => {
      torn = octets;
      options.onTornTail?.(octets);
    },
  });
  if (latest !== undefined && latest.head.size > tree.size) {
    await journal.close();
    return cut(directory, `it has ${tree.size} entries, and a checkpoint over ${latest.head.size}`);
  }
  const unsigned = tree.size - (latest?.head.size ?? 0);
  const log = new AuditLog(options, { journal, tree, origin, latest });
  const open = new Set<number>();
  for (const { index, octets } of recent) {
    const entry = readEntry(octets, index);
    options.onEntry?.(entry, index);
    if (entry.kind === 'decision' && entry.effect === 'permit') open.add(index);
    if (entry.kind === 'outcome') open.delete(entry.decision);
  }
  log.append({ at: log.now(), kind: 'event', event: 'start', detail: { unsigned, torn } });
  for (const decision of open) {
    log.append({ at: log.now(), kind: 'outcome', decision, effect: 'outcome-unknown' });
  }
  await journal.flush();
  return log;
}

interface Opened {
  readonly journal: Journal;
  readonly tree: LogTree;
  readonly origin: string;
  readonly latest: Checkpoint | undefined;
}

export class AuditLog {
  readonly origin: string;
  readonly #options: AuditLogOptions;
  readonly #journal: Journal;
  readonly #tree: LogTree;
  readonly #listeners: ((checkpoint: Checkpoint) => void)[] = [];
  #latest: Checkpoint | undefined;
  #making: Promise<Checkpoint | undefined> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: AuditLogOptions, { journal, tree, origin, latest }: Opened) {
    this.#options = options;
    this.#journal = journal;
    this.#tree = tree;
    this.#latest = latest;
    this.origin = origin;
  }

  get size(): number {
    return this.#tree.size;
  }

  /** Whether anything but the last checkpoint's own entry was appended since it. */
  get hasNews(): boolean {
    return this.#latest === undefined || this.size > this.#latest.head.size + 1;
  }

  /** Root of the tree as it is, 32 octets. */
  root(): Uint8Array {
    return this.#tree.root();
  }

  get latest(): Checkpoint | undefined {
    return this.#latest;
  }

  now(): number {
    return (this.#options.now ?? Date.now)();
  }

  /** Told of every new checkpoint. */
  onCheckpoint(listener: (checkpoint: Checkpoint) => void): void {
    this.#listeners.push(listener);
  }

  /** Appends; `durable` resolves when it is on disk. @throws KeydError `audit_unavailable` by `durable` */
  append(record: AuditRecord): { readonly index: number; readonly durable: Promise<void> } {
    const index = this.#tree.size;
    let octets: Uint8Array;
    try {
      octets = encodeAuditEntry(record, index, this.#tree.last ?? NO_ENTRY);
    } catch (cause) {
      // What could not be read again would end the log; what it is for is not done.
      const error = new KeydError('audit_unavailable', 'this can not be written to the audit log', { cause });
      const durable = Promise.reject(error);
      durable.catch(() => undefined);
      return { index, durable };
    }
    this.#tree.append(leafHash(octets));
    return this.#journal.append(octets);
  }

  /** Size and root as they are, everything in them durable. */
  async head(): Promise<TreeHead> {
    const head = { origin: this.origin, size: this.#tree.size, root: this.#tree.root() };
    await this.#journal.flush();
    return head;
  }

  /**
   * A signed tree head; the one before it where nothing but it was appended since. One at a time.
   * @throws KeydError `audit_unavailable`, those of the hardware
   */
  checkpoint(): Promise<Checkpoint | undefined> {
    this.#making ??= this.#makeCheckpoint().finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  /**
   * The whole log up to a new checkpoint, for `verifyAuditExport`; a segment is in memory at a time.
   * @throws KeydError `audit_unavailable` while there is no key to sign it
   */
  async *export(): AsyncGenerator<Uint8Array, void> {
    const checkpoint = await this.checkpoint();
    if (checkpoint === undefined)
      throw new KeydError('audit_unavailable', 'no backend is ready to sign a checkpoint; try again later');
    const { head, note, publicJwk } = checkpoint;
    yield Buffer.from(encodeExportHeader(note, head.size, publicJwk));
    for (const batch of recordBatches(this.#options.directory, AUDIT_JOURNAL, head.size)) {
      yield Buffer.concat(batch.flatMap((octets) => [octets, LINE_FEED]));
    }
  }

  /** Entries `from` to `to`, exclusive, as octets: what the tree is over. */
  entries(from: number, to: number): readonly Uint8Array[] {
    return readRecords(this.#options.directory, AUDIT_JOURNAL, from, Math.min(to, this.size));
  }

  /** @throws KeydError `not_found` where the tree of `size` has no such entry */
  inclusion(index: number, size: number): readonly Hash[] {
    if (size > this.size || index >= size)
      throw new KeydError('not_found', `there is no entry ${index} in the first ${size}`);
    return inclusionProof(index, size, this.#subtree());
  }

  /** @throws KeydError `not_found` */
  consistency(first: number, second: number): readonly Hash[] {
    if (first > second || second > this.size) {
      throw new KeydError('not_found', `the log has ${this.size} entries; ask for first <= second <= that`);
    }
    return consistencyProof(first, second, this.#subtree());
  }

  /** Notes the stop, signs a last checkpoint over it where a key is ready, and closes. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#making?.catch(() => undefined);
      await this.append({ at: this.now(), kind: 'event', event: 'stop', detail: {} }).durable;
      await this.checkpoint();
    } catch (thrown) {
      this.#options.onUnsigned?.(asKeydError(thrown));
    } finally {
      await this.#journal.close();
    }
  }

  #subtree(): (from: number, to: number) => Hash {
    return this.#tree.subtree((from, to) => this.entries(from, to).map(leafHash));
  }

  async #makeCheckpoint(): Promise<Checkpoint | undefined> {
    const latest = this.#latest;
    if (!this.hasNews) return latest;
    const signer = await this.#options.signer();
    if (signer === undefined) return undefined;
    const head = await this.head();
    const signature = await signer.sign(Buffer.from(checkpointText(head)));
    const note = signedCheckpoint(head, signer.publicJwk, signature);
    await this.append({ at: this.now(), kind: 'checkpoint', note }).durable;
    const made = { head, note, publicJwk: signer.publicJwk };
    await writeCheckpointFile(this.#options.directory, made);
    this.#latest = made;
    for (const listener of this.#listeners) listener(made);
    return made;
  }
}

function readEntry(octets: Uint8Array, index: number): AuditEntry {
  try {
    return parseAuditEntry(octets);
  } catch (cause) {
    throw new KeydError('audit_unavailable', `entry ${index} of the audit log can not be read`, { cause });
  }
}

/** The log goes on only where it holds what was last signed of it. */
function requireHeld(directory: string, origin: string, tree: LogTree, latest: Checkpoint | undefined): void {
  if (latest?.head.size !== tree.size) return;
  if (latest.head.origin === origin && Buffer.compare(latest.head.root, tree.root()) === 0) return;
  cut(directory, `its first ${tree.size} entries are not those of its last checkpoint`);
}

function cut(directory: string, what: string): never {
  throw new KeydError(
    'audit_unavailable',
    `${directory} was changed from outside: ${what}; keep it as evidence, see agentkey audit verify --directory, and move it away to begin a new log`,
  );
}

/** A name of its own for every log, so that no checkpoint stands for another. */
function readOrigin(directory: string): string {
  const file = join(directory, 'origin');
  if (existsSync(file)) return readFileSync(file, 'utf8').trim();
  const origin = `agentkeyd/${randomUUID()}`;
  writeFileSync(file, `${origin}\n`, { mode: 0o600, flag: 'wx', flush: true });
  return origin;
}
