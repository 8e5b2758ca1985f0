/**
 * The append-only log of what was decided and what came of it: a journal, the Merkle tree over its entries, and
 * checkpoints that a hardware key signs. A decision is durable before `append` resolves; nothing that depends on
 * it is released earlier (S16).
 */
import { setImmediate } from 'node:timers/promises';
import type { Journal } from '../base/journal.ts';
import { JournalReader } from '../base/journal-reader.ts';
import { encodeAuditEntry, NO_ENTRY, type AuditRecord } from '../wire/audit-entry.ts';
import { AUDIT_JOURNAL, encodeExportHeader } from '../wire/audit-export.ts';
import { checkpointText, signedCheckpoint, type TreeHead } from '../wire/checkpoint.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { consistencyProof, inclusionProof, leafHash, type Hash } from '../wire/merkle.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import { writeCheckpointFile, type Checkpoint } from './checkpoint-file.ts';
import type { DiskReserve } from './disk-reserve.ts';
import { writeResume, type Resume } from './resume-file.ts';
import type { LogTree } from './tree.ts';

/** The host's audit key: in hardware, addressed by no endpoint (DECISIONS 11). */
export interface CheckpointSigner {
  readonly publicJwk: PublicJwk;
  /** ES256, r‖s. */
  sign(octets: Uint8Array): Promise<Uint8Array>;
}

/** Something that is counted over all entries, and kept with the log so that a start need not read them all. */
export interface EntryTally {
  /** An entry of the past, in order; permitted decisions that have no outcome yet may come a second time. */
  entry(entry: AuditRecord, index: number): void;
  /** Everything counted so far, as JSON. */
  save(): unknown;
  /** What `save` returned. @throws KeydError `malformed_structure` */
  restore(saved: unknown): void;
  /** Back to nothing. */
  clear(): void;
}

export interface AuditLogOptions {
  readonly directory: string;
  /** Undefined while there is no audit key: entries are kept, checkpoints are not made. */
  readonly signer: () => Promise<CheckpointSigner | undefined>;
  readonly tally?: EntryTally;
  readonly onTornTail?: (octets: number) => void;
  /** Why the log ends without a checkpoint over its end, where it does. */
  readonly onUnsigned?: (error: KeydError) => void;
  /** Why the next start will have to read more of the log than it would. */
  readonly onUnsaved?: (error: KeydError) => void;
  /** The disk is full: what is reserved is used up from now on. */
  readonly onFull?: () => void;
  readonly maxSegmentOctets?: number;
  /** Disk kept for when it is full; 4 MiB unless said. */
  readonly reserveOctets?: number;
  readonly now?: () => number;
}

export type { Checkpoint } from './checkpoint-file.ts';

const LINE_FEED = Buffer.from('\n');
/** Decisions without outcome that are remembered; more are never under way at once. */
const MAX_OPEN = 16_384;
/** Entries after which a checkpoint is made before its time: a start reads what stands behind the last. */
const MAX_UNSIGNED = 32_768;
/** What a start resumes from is written for at most this part of the time. */
const RESUME_SHARE = 200;

/** What `openAuditLog` found. */
export interface Opened {
  readonly journal: Journal;
  readonly tree: LogTree;
  readonly reserve: DiskReserve;
  readonly origin: string;
  readonly latest: Checkpoint | undefined;
  /** Permitted decisions without outcome, the oldest first. */
  readonly open: Set<number>;
}

export class AuditLog {
  readonly origin: string;
  readonly #options: AuditLogOptions;
  readonly #journal: Journal;
  readonly #tree: LogTree;
  readonly #reserve: DiskReserve;
  readonly #reader: JournalReader;
  readonly #open: Set<number>;
  readonly #listeners: ((checkpoint: Checkpoint) => void)[] = [];
  #latest: Checkpoint | undefined;
  #making: Promise<Checkpoint | undefined> | undefined;
  #closing: Promise<void> | undefined;
  /** Size at which a checkpoint is due by the number of entries. */
  #dueAt: number;
  #resumeDueMs = 0;

  constructor(options: AuditLogOptions, { journal, tree, reserve, origin, latest, open }: Opened) {
    this.#options = options;
    this.#journal = journal;
    this.#tree = tree;
    this.#reserve = reserve;
    this.#latest = latest;
    this.#open = open;
    this.#reader = new JournalReader(options.directory, AUDIT_JOURNAL);
    this.#dueAt = tree.size + MAX_UNSIGNED;
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
    this.#track(record, index);
    // S16: an outcome follows in the next group commit, and has none of its own unless none comes.
    const appended =
      record.kind === 'outcome' ? this.#journal.appendLater(octets) : this.#journal.append(octets);
    if (this.size >= this.#dueAt) this.#checkpointOfItself();
    return appended;
  }

  /** Whether the log lives on its reserve: only what has to be written should be. */
  get isShort(): boolean {
    return this.#reserve.isSpent;
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
    for (const batch of this.#reader.batches(head.size)) {
      yield Buffer.concat(batch.flatMap((octets) => [octets, LINE_FEED]));
    }
  }

  /** Entries `from` to `to`, exclusive, as octets: what the tree is over. */
  entries(from: number, to: number): readonly Uint8Array[] {
    return this.#reader.read(from, Math.min(to, this.size));
  }

  /** @throws KeydError `not_found` where the tree of `size` has no such entry; `audit_unavailable` */
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
      // The next start has no use for an older one.
      this.#resumeDueMs = 0;
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
    if (this.isShort) this.#reserve.take();
    if (!this.hasNews) return latest;
    const signer = await this.#options.signer();
    if (signer === undefined) return undefined;
    // What belongs to an entry is counted in the turn that appends it: between two turns the counts fit the size.
    await setImmediate();
    const resume = this.#resume();
    const head = await this.head();
    const signature = await signer.sign(Buffer.from(checkpointText(head)));
    const note = signedCheckpoint(head, signer.publicJwk, signature);
    await this.append({ at: this.now(), kind: 'checkpoint', note }).durable;
    const made = { head, note, publicJwk: signer.publicJwk };
    await writeCheckpointFile(this.#options.directory, made);
    this.#latest = made;
    this.#dueAt = this.size + MAX_UNSIGNED;
    if (resume !== undefined) await this.#writeResume(resume);
    for (const listener of this.#listeners) listener(made);
    return made;
  }

  #track(record: AuditRecord, index: number): void {
    if (record.kind === 'outcome') this.#open.delete(record.decision);
    if (record.kind !== 'decision' || record.effect !== 'permit') return;
    this.#open.add(index);
    if (this.#open.size <= MAX_OPEN) return;
    const [oldest = index] = this.#open;
    this.#open.delete(oldest);
  }

  #checkpointOfItself(): void {
    this.#dueAt = this.size + MAX_UNSIGNED;
    this.checkpoint().catch((thrown: unknown) => {
      this.#options.onUnsigned?.(asKeydError(thrown));
    });
  }

  /** Taken in one turn, before the head that it goes with. Undefined while it is not due. */
  #resume(): Resume | undefined {
    const startedAt = performance.now();
    if (startedAt < this.#resumeDueMs) return undefined;
    const resume = {
      size: this.size,
      blocks: [...this.#tree.blocks],
      open: [...this.#open],
      tally: this.#options.tally?.save(),
    };
    const endedAt = performance.now();
    this.#resumeDueMs = endedAt + RESUME_SHARE * (endedAt - startedAt);
    return resume;
  }

  /** Without it the next start reads more, that is all. */
  async #writeResume(resume: Resume): Promise<void> {
    try {
      await writeResume(this.#options.directory, this.origin, resume);
    } catch (thrown) {
      this.#options.onUnsaved?.(asKeydError(thrown));
    }
  }
}
