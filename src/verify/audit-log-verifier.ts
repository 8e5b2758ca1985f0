/**
 * Verifies an audit log entry by entry, in one pass and little memory, with nothing but the keys that its
 * checkpoints are signed by. Whatever later checkpoint a witness has seen makes it find more: a log that is
 * whole in itself may still be an old one.
 */
import { parseAuditEntry, type AuditEntry } from '../wire/audit-entry.ts';
import type { TreeHead } from '../wire/checkpoint.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { leafHash } from '../wire/merkle.ts';
import { asKeydError } from '../wire/problem.ts';
import { finding, type AuditFinding, type AuditFindingCode } from './audit-findings.ts';
import { CommandAudits } from './audit-command-audits.ts';
import { AuditHeads } from './audit-heads.ts';
import { AuditNotes } from './audit-notes.ts';
import { AuditPlaces, type Place } from './audit-places.ts';

export interface AuditTrust {
  /** Audit keys of the host, the present one and those before it. */
  readonly keys: readonly PublicJwk[];
  /** Signed notes that were seen of this log: a witness's, an operator's, those of earlier proofs. */
  readonly checkpoints?: readonly string[];
  /** Present value of the counter that anchors the log, read from the TPM or told by the issuer. */
  readonly counter?: bigint;
  /** AKs of the host's TPM, by the hex of their Names, as the issuer and status know them (`akId`). */
  readonly akIds?: readonly string[];
}

export interface AuditLogOptions extends AuditTrust {
  /** The newest checkpoint that came with the log. */
  readonly own?: string;
  /** Whether the log ends with what `own` is over, as an export does. */
  readonly isSealed?: boolean;
  /** Gets every entry, which is then read in full. */
  readonly onEntry?: (entry: AuditEntry, index: number) => void;
}

export interface AuditReport {
  /** Whether there is no fault. */
  readonly isSound: boolean;
  /** In the order they were met; the first 100. */
  readonly findings: readonly AuditFinding[];
  /** Faults beyond those. */
  readonly more: number;
  readonly entries: number;
  /** The newest head that a trusted key signed and the entries have. */
  readonly signed: TreeHead | undefined;
  /** Of the newest anchor. */
  readonly counter: string | undefined;
}

const MAX_FINDINGS = 100;
const EXPLAINS: ReadonlySet<AuditFindingCode> = new Set([
  'entry_malformed',
  'entry_changed',
  'entry_removed',
  'entry_reordered',
  'entry_inserted',
  'history_rewritten',
  'tail_cut',
]);
/** As the log writes it: where it stands is read without reading the rest, which is signed for. */
const BEGINNING =
  /^\{"index":(0|[1-9]\d{0,14}),"previous":"([A-Za-z0-9_-]{43})","at":\d{1,16},"kind":"(decision|outcome|denials)"/;
const BEGINNING_OCTETS = 160;

export class AuditLogVerifier {
  readonly #options: AuditLogOptions;
  readonly #heads: AuditHeads;
  readonly #places: AuditPlaces;
  readonly #notes: AuditNotes;
  readonly #commandAudits: CommandAudits;
  readonly #known: readonly TreeHead[];
  readonly #own: TreeHead | undefined;
  #findings: AuditFinding[] = [];
  #more = 0;
  #signed: TreeHead | undefined;
  #lastKind: AuditEntry['kind'] | undefined;
  #isStopped = false;
  /** Checkpoints by keys that are not given, until a trusted one comes. */
  #unknown: { readonly index: number; readonly head: TreeHead }[] = [];
  #counter: string | undefined;

  /** @throws KeydError `malformed_request` for an unusable key */
  constructor(options: AuditLogOptions) {
    this.#options = options;
    const tell = (found: AuditFinding): void => {
      this.tell(found);
    };
    this.#notes = new AuditNotes(options.keys, tell);
    this.#own =
      options.own === undefined ? undefined : this.#notes.trusted(options.own, 'that came with the log');
    this.#known = (options.checkpoints ?? [])
      .map((note) => this.#notes.trusted(note, 'given'))
      .filter((head) => head !== undefined)
      .sort((left, right) => left.size - right.size);
    this.#heads = new AuditHeads(
      [...this.#known, ...(this.#own === undefined ? [] : [this.#own])].map(({ size }) => size),
    );
    this.#places = new AuditPlaces(tell);
    this.#commandAudits = new CommandAudits(options.akIds, this.#heads, tell);
  }

  get size(): number {
    return this.#heads.size;
  }

  /** The next entry's octets. They may be a view into something that changes afterwards. */
  add(octets: Uint8Array): void {
    const position = this.#heads.size;
    const leaf = leafHash(octets);
    const place = this.#read(octets, position);
    this.#places.add(place, leaf);
    this.#heads.add(leaf);
  }

  /** A finding of whoever reads the entries: damage to a file, a line that is too long. */
  tell(found: AuditFinding): void {
    // What two checks find of one entry is one finding.
    const isKnown = ({ code, from }: AuditFinding): boolean => code === found.code && from === found.from;
    if (found.from !== undefined && this.#findings.some(isKnown)) return;
    if (this.#findings.length < MAX_FINDINGS) this.#findings.push(found);
    else if (found.severity === 'fault') this.#more += 1;
  }

  /** The file of the next entry is damaged there: whatever it is now, it is not what was written. */
  tellDamage(detail: string): void {
    this.tell(finding('entry_changed', detail, this.size));
  }

  /** What a crash left behind the last entry. */
  tellTorn(detail: string): void {
    this.tell(finding('tail_torn', detail, this.size));
  }

  /** After the last entry. */
  end(): AuditReport {
    this.#heads.rootAt(this.size);
    this.#places.end();
    this.#judgeUnknown();
    this.#judgeOwn();
    this.#judgeKnown();
    this.#judgeTail();
    this.#judgeCounter();
    const faults = this.#findings.filter(({ severity }) => severity === 'fault').length + this.#more;
    return {
      isSound: faults === 0,
      findings: this.#findings,
      more: this.#more,
      entries: this.size,
      signed: this.#signed,
      counter: this.#counter,
    };
  }

  #read(octets: Uint8Array, position: number): Place | undefined {
    if (this.#options.onEntry === undefined) {
      const start = Buffer.from(octets.buffer, octets.byteOffset, Math.min(octets.length, BEGINNING_OCTETS));
      const [, index, previous, kind] = BEGINNING.exec(start.toString('latin1')) ?? [];
      if (previous !== undefined) {
        this.#note(kind as AuditEntry['kind'], position);
        return { index: Number(index), previous };
      }
    }
    let entry: AuditEntry;
    try {
      entry = parseAuditEntry(octets);
    } catch (thrown) {
      const { message } = asKeydError(thrown);
      this.tell(finding('entry_malformed', `entry ${position} is none: ${message}`, position));
      return undefined;
    }
    this.#options.onEntry?.(entry, position);
    this.#note(entry.kind, position, entry);
    return entry;
  }

  #note(kind: AuditEntry['kind'], position: number, entry?: AuditEntry): void {
    this.#lastKind = kind;
    const isEvent = entry?.kind === 'event';
    if (isEvent && entry.event === 'start') this.#isStopped = false;
    else if (this.#isStopped && kind !== 'checkpoint')
      this.tell(finding('entry_appended', `entry ${position} was written after the log had ended`, position));
    if (isEvent && entry.event === 'stop') this.#isStopped = true;
    if (entry?.kind === 'anchor' && /^\d{1,20}$/.test(entry.value)) this.#counter = entry.value;
    if (entry?.kind === 'command-audit') this.#commandAudits.add(entry, position);
    if (entry?.kind === 'checkpoint') this.#checkpoint(entry.note, position);
  }

  /** A checkpoint that stands in the log. */
  #checkpoint(note: string, position: number): void {
    const read = this.#notes.read(note, `of entry ${position}`, position);
    if (read === undefined) return;
    const { head, isTrusted } = read;
    const root = this.#heads.rootAt(head.size);
    const isHeld = root !== undefined && Buffer.compare(root, head.root) === 0;
    if (!isHeld) {
      this.#rewritten(head.size, position);
      return;
    }
    if (!isTrusted) {
      this.#unknown.push({ index: position, head });
      return;
    }
    if (this.#signed === undefined || head.size > this.#signed.size) this.#signed = head;
  }

  /** Told where nothing was found that explains it. */
  #rewritten(size: number, at: number): void {
    if (this.#isExplained) return;
    const from = this.#signed?.size ?? 0;
    this.tell(
      finding(
        'history_rewritten',
        size > at
          ? `the checkpoint of entry ${at} is over ${size} entries, and ${at} stand before it`
          : `entries ${from} to ${size - 1} are not those that the checkpoint of entry ${at} was signed over`,
        from,
        Math.max(from, Math.min(size, at)),
      ),
    );
  }

  /** Whether something was found that makes every later root another. */
  get #isExplained(): boolean {
    return this.#more > 0 || this.#places.hasGaps || this.#findings.some(({ code }) => EXPLAINS.has(code));
  }

  #judgeUnknown(): void {
    for (const { index, head } of this.#unknown) {
      const isCovered = [this.#signed, this.#own].some(
        (signed) => signed !== undefined && signed.size > index,
      );
      this.tell(
        isCovered
          ? finding(
              'checkpoint_key_unknown',
              `the checkpoint of entry ${index} is by a key that was not given`,
              index,
            )
          : finding(
              'checkpoint_foreign',
              `the checkpoint of entry ${index} over ${head.size} entries is by another key`,
              index,
            ),
      );
    }
  }

  #judgeOwn(): void {
    const own = this.#own;
    if (own === undefined) return;
    if (own.size > this.size) {
      if (this.#isExplained) return;
      const detail = `the log has ${this.size} entries, and its newest checkpoint is over ${own.size}`;
      this.tell(finding('tail_cut', detail, this.size, own.size));
      return;
    }
    if (!this.#isHeld(own)) {
      if (this.#isExplained) return;
      const from = this.#signed?.size ?? 0;
      const detail = `entries ${from} to ${own.size - 1} are not those that its newest checkpoint was signed over`;
      this.tell(finding('history_rewritten', detail, from, own.size));
      return;
    }
    if (this.#signed === undefined || own.size > this.#signed.size) this.#signed = own;
  }

  #judgeKnown(): void {
    for (const known of this.#known) {
      if (known.size > this.size) {
        if (this.#isExplained) return;
        const isWhole = this.#own !== undefined;
        const detail = `the log has ${this.size} entries, and a checkpoint over ${known.size} was seen of it`;
        this.tell(
          isWhole
            ? finding(
                'log_restored',
                `${detail}: it is an older copy, whole in itself`,
                this.size,
                known.size,
              )
            : finding('tail_cut', detail, this.size, known.size),
        );
        return;
      }
      if (!this.#isHeld(known)) {
        if (this.#isExplained) return;
        const signed = this.#signed;
        this.tell(
          signed !== undefined && signed.size >= known.size
            ? finding(
                'log_forked',
                `the log has another history than the checkpoint over ${known.size} entries that was seen of it: an older copy was restored and written on`,
                undefined,
              )
            : finding(
                'history_rewritten',
                `entries ${signed?.size ?? 0} to ${known.size - 1} are not those that a checkpoint was seen of`,
                signed?.size ?? 0,
                known.size,
              ),
        );
        return;
      }
      if (this.#signed === undefined || known.size > this.#signed.size) this.#signed = known;
    }
  }

  #judgeTail(): void {
    const from = this.#signed?.size ?? 0;
    const to = this.size;
    if (from === to || this.#isExplained) return;
    if (this.#signed === undefined) {
      this.tell(finding('checkpoint_missing', 'no checkpoint of the log is by a key that was given', 0, to));
      return;
    }
    if (this.#options.isSealed === true) {
      this.tell(
        finding('entry_appended', `entries ${from} to ${to - 1} stand behind the signed end`, from, to),
      );
      return;
    }
    // The entry of the last checkpoint is over nothing itself.
    if (to - from === 1 && this.#lastKind === 'checkpoint') return;
    this.tell(
      finding(
        'tail_unsigned',
        `no checkpoint is over entries ${from} to ${to - 1} yet: only their file vouches for them`,
        from,
        to,
      ),
    );
  }

  #judgeCounter(): void {
    const { counter } = this.#options;
    if (counter === undefined || BigInt(this.#counter ?? 0) >= counter || this.#isExplained) return;
    const detail = `the last anchor is at ${this.#counter ?? 'no value'}, and the counter at ${counter}: the log is an older copy`;
    this.tell(finding('counter_ahead', detail));
  }

  #isHeld(head: TreeHead): boolean {
    const root = this.#heads.rootAt(head.size);
    return root !== undefined && Buffer.compare(root, head.root) === 0;
  }
}
