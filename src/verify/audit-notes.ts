/** Checkpoints of one log: read, held against the trusted keys, and told where they are no good. */
import { noteKeyId, parseCheckpoint, verifyCheckpoint, type TreeHead } from '../wire/checkpoint.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { asKeydError } from '../wire/problem.ts';
import { finding, type AuditFinding } from './audit-findings.ts';

/** A head as its note says it; `isTrusted` where one of the keys signed it. */
export interface NotedHead {
  readonly head: TreeHead;
  readonly isTrusted: boolean;
}

export class AuditNotes {
  readonly #keys: readonly PublicJwk[];
  readonly #tell: (found: AuditFinding) => void;
  /** Of the first note: all are of one log. */
  #origin: string | undefined;

  constructor(keys: readonly PublicJwk[], tell: (found: AuditFinding) => void) {
    this.#keys = keys;
    this.#tell = tell;
  }

  /** Undefined, and told, for one that is by no trusted key or none at all. */
  trusted(note: string, which: string): TreeHead | undefined {
    const read = this.read(note, which);
    if (read === undefined || read.isTrusted) return read?.head;
    this.#tell(finding('checkpoint_foreign', `the checkpoint ${which} is by another key`));
    return undefined;
  }

  /** Undefined, and told, for one that can not be read, is of another log, or does not verify. */
  read(note: string, which: string, at?: number): NotedHead | undefined {
    let parsed: ReturnType<typeof parseCheckpoint>;
    try {
      parsed = parseCheckpoint(note);
    } catch (thrown) {
      const { message } = asKeydError(thrown);
      this.#tell(finding('checkpoint_malformed', `the checkpoint ${which} can not be read: ${message}`, at));
      return undefined;
    }
    const { origin, size, root, keyId } = parsed;
    this.#origin ??= origin;
    if (origin !== this.#origin) {
      const detail = `the checkpoint ${which} is of ${origin}, this log is ${this.#origin}`;
      this.#tell(finding('checkpoint_foreign', detail, at));
      return undefined;
    }
    const candidates = this.#keys.filter((key) => Buffer.compare(noteKeyId(key), keyId) === 0);
    if (candidates.length === 0) return { head: { origin, size, root }, isTrusted: false };
    for (const key of candidates) {
      try {
        return { head: verifyCheckpoint(note, key), isTrusted: true };
      } catch {
        // Told below: a key id of four octets may be that of two keys.
      }
    }
    this.#tell(finding('checkpoint_invalid', `the signature of the checkpoint ${which} does not verify`, at));
    return undefined;
  }
}
