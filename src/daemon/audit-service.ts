/** The audit log as the socket shows it. Implements `AuditApi`. */
import type { AuditLog, Checkpoint } from '../audit/audit-log.ts';
import type { Caller } from '../caller/caller.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import type { AuditApi } from '../socket/services.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import type { PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';

export interface AuditServiceOptions extends ActionGate {
  readonly audit: AuditLog;
}

/** Entries as text, exactly as the tree has them: a leaf is the hash of these octets. */
export interface AuditEntriesView {
  readonly from: number;
  readonly size: number;
  readonly entries: readonly string[];
}

export interface CheckpointView {
  /** A signed note (C2SP tlog-checkpoint). */
  readonly checkpoint: string;
  readonly publicJwk: PublicJwk;
}

export interface InclusionView extends CheckpointView {
  readonly index: number;
  readonly entry: string;
  /** base64url SHA-256, from the leaf up (RFC 9162 §2.1.3). */
  readonly proof: readonly string[];
}

export interface ConsistencyView {
  readonly first: number;
  readonly second: number;
  /** RFC 9162 §2.1.4. */
  readonly proof: readonly string[];
}

/** Of one answer: ample for a thousand usual entries, and less than a client takes. */
const MAX_ANSWER_OCTETS = 1024 * 1024;

export class AuditService implements AuditApi {
  readonly #options: AuditServiceOptions;

  constructor(options: AuditServiceOptions) {
    this.#options = options;
  }

  /** @throws KeydError `audit_unavailable` while there is no key to sign it */
  async checkpoint(): Promise<CheckpointView> {
    const { note, publicJwk } = await this.#checkpoint();
    return { checkpoint: note, publicJwk };
  }

  /** @throws KeydError `policy_denied` */
  async entries(caller: Caller, from: number, limit: number): Promise<AuditEntriesView> {
    const { audit } = this.#options;
    return this.#read(caller, () =>
      Promise.resolve({
        from,
        size: audit.size,
        entries: firstOf(audit.entries(from, from + limit)),
      }),
    );
  }

  /** @throws KeydError `policy_denied`, `not_found`, `audit_unavailable` */
  async inclusion(caller: Caller, index: number): Promise<InclusionView> {
    const { audit } = this.#options;
    return this.#read(caller, async () => {
      const { note, publicJwk, head } = await this.#checkpoint();
      const proof = audit.inclusion(index, head.size).map(encodeBase64url);
      const [octets = Buffer.alloc(0)] = audit.entries(index, index + 1);
      return { index, entry: Buffer.from(octets).toString('utf8'), proof, checkpoint: note, publicJwk };
    });
  }

  /** @throws KeydError `policy_denied`, `not_found` */
  async consistency(caller: Caller, first: number, second: number): Promise<ConsistencyView> {
    const { audit } = this.#options;
    // eslint-disable-next-line @typescript-eslint/require-await -- so that what consistency throws is its rejection
    return this.#read(caller, async () => ({
      first,
      second,
      proof: audit.consistency(first, second).map(encodeBase64url),
    }));
  }

  async #checkpoint(): Promise<Checkpoint> {
    const checkpoint = await this.#options.audit.checkpoint();
    if (checkpoint !== undefined) return checkpoint;
    throw new KeydError('audit_unavailable', 'no backend is ready to sign a checkpoint; try again later');
  }

  #read<T>(caller: Caller, read: () => Promise<T>): Promise<T> {
    return requireAction(this.#options, caller, { action: 'audit-read' }, read);
  }
}

/** As many as fit one answer, at least one. */
function firstOf(entries: readonly Uint8Array[]): readonly string[] {
  let octets = 0;
  const count = entries.findIndex((entry) => (octets += entry.length) > MAX_ANSWER_OCTETS);
  const fitting = count < 0 ? entries : entries.slice(0, Math.max(1, count));
  return fitting.map((entry) => Buffer.from(entry).toString('utf8'));
}
