/** What was signed in the past counts in what policies read of it: use, as the audit log tells it. */
import type { EntryTally } from '../audit/audit-log.ts';
import type { MemoryUsageHistory } from '../ledger/usage-history.ts';
import type { AuditRecord, DecisionRecord } from '../wire/audit-entry.ts';

export class UsageTally implements EntryTally {
  readonly #usage: MemoryUsageHistory;
  /** Signatures whose outcome has not been read yet, by the index of their decision. */
  readonly #begun = new Map<number, DecisionRecord>();

  constructor(usage: MemoryUsageHistory) {
    this.#usage = usage;
  }

  entry(entry: AuditRecord, index: number): void {
    if (entry.kind === 'decision' && isUse(entry)) this.#begun.set(index, entry);
    if (entry.kind !== 'outcome') return;
    const begun = this.#begun.get(entry.decision);
    this.#begun.delete(entry.decision);
    if (begun?.agent === undefined || entry.effect === 'failed') return;
    const origin = begun.parameters['origin'];
    this.#usage.signedAt(begun.agent.id, typeof origin === 'string' ? origin : undefined, entry.at);
  }

  save(): unknown {
    return this.#usage.save();
  }

  restore(saved: unknown): void {
    this.clear();
    this.#usage.restore(saved);
  }

  clear(): void {
    this.#begun.clear();
    this.#usage.clear();
  }
}

/** Something a caller had signed; the links that the daemon renews for a parent are not. */
function isUse({ action, agent, effect, octetsSha256 }: DecisionRecord): boolean {
  return effect === 'permit' && agent !== undefined && octetsSha256 !== undefined && action !== 'delegate';
}
