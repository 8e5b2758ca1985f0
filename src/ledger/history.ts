/**
 * What became of one account, read back from the journal: as far as it is kept, which is one snapshot's worth of
 * records at least. The audit log has every decision for good; this is for who asks where a budget went.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { JournalReader } from '../base/journal-reader.ts';
import { listSegments } from '../base/journal-files.ts';
import type { HISTORY_EVENTS } from '../wire/socket/budget.ts';
import type { UnitName } from './charge.ts';
import { limitOf, type LimitName } from './purse-key.ts';
import { decodeRecord, entriesOf, LEDGER_JOURNAL, type LedgerRecord } from './records.ts';

/**
 * `ceiling`: the issuer set what a grant has. `reserved`: taken before hardware was asked, and spent unless a later
 * entry of the same reservation gives some back: `released` where hardware was never asked, `settled` where it cost
 * less. `allocated`: set aside for a sub-agent; `received` and `topped-up`: had from the parent, at first and as more;
 * `returned`: what a sub-agent left. `closed`: nothing is spent from it any more. `forfeited`: a lease that a crash cost.
 */
export type HistoryEvent = (typeof HISTORY_EVENTS)[number];

export interface HistoryEntry {
  /** Place in the journal; goes up with time. */
  readonly index: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly event: HistoryEvent;
  readonly amounts: readonly (readonly [UnitName, bigint])[];
  /** Limits of policies that were counted with it. */
  readonly limits: readonly (LimitName & { readonly amount: bigint })[];
  readonly reservation?: string;
  /** Id of the agent that signed. */
  readonly agentId?: string;
  readonly call?: string;
  /** The account at the other end: parent or child. */
  readonly other?: string;
}

export interface HistoryQuery {
  readonly account: string;
  readonly grantId: string;
  readonly agentId: string;
  /** Entries before this index; by default the newest. */
  readonly before?: number | undefined;
  readonly limit: number;
}

export interface HistoryPage {
  /** The newest first. */
  readonly entries: readonly HistoryEntry[];
  /** Where the next page begins; undefined at the end. */
  readonly next: number | undefined;
}

/** Records looked at for one page: a bound on the work, whoever asks. */
const MAX_LOOKED_AT = 5000;

/** Records read in one turn of the event loop, a few milliseconds: everybody else's requests come in between (S20). */
const READ_AT_ONCE = 256;

/** @param length records there are. @throws KeydError `ledger_unavailable` for what can not be read */
export async function readHistory(
  directory: string,
  length: number,
  query: HistoryQuery,
): Promise<HistoryPage> {
  const end = Math.min(query.before ?? length, length);
  const kept = listSegments(directory, LEDGER_JOURNAL)[0]?.first ?? 0;
  const from = Math.max(kept, end - MAX_LOOKED_AT);
  const entries: HistoryEntry[] = [];
  const reader = new JournalReader(directory, LEDGER_JOURNAL);
  for (let before = end; before > from; before -= READ_AT_ONCE) {
    const first = Math.max(from, before - READ_AT_ONCE);
    const records = reader.read(first, before);
    // Removed meanwhile, by a snapshot: what is older is not kept either.
    if (records.length < before - first) return { entries, next: undefined };
    for (const [place, octets] of [...records.entries()].toReversed()) {
      const entry = entryOf(decodeRecord(octets), first + place, query);
      if (entry === undefined) continue;
      if (entries.length === query.limit) return { entries, next: first + place + 1 };
      entries.push(entry);
    }
    await nextTurn();
  }
  return { entries, next: from > kept ? from : undefined };
}

function entryOf(record: LedgerRecord, index: number, query: HistoryQuery): HistoryEntry | undefined {
  const { account } = query;
  const entry = (
    event: HistoryEvent,
    amounts: Readonly<Record<string, string>> = {},
    other?: string,
  ): HistoryEntry => ({
    index,
    at: record.at,
    event,
    amounts: entriesOf(amounts),
    limits: [],
    ...(other === undefined ? {} : { other }),
  });
  switch (record.t) {
    case 'grant':
      return record.account === account ? entry('ceiling', record.budgets) : undefined;
    case 'allocate':
    case 'top-up':
      if (record.parent === account) return entry('allocated', record.budgets, record.child);
      if (record.child !== account) return undefined;
      return entry(record.t === 'allocate' ? 'received' : 'topped-up', record.budgets, record.parent);
    case 'close':
      return record.account === account ? entry('closed') : undefined;
    case 'return':
      return record.parent === account ? entry('returned', record.give, record.account) : undefined;
    case 'reserve':
      return taken(entry('reserved'), record.take, query, record);
    case 'release':
      return taken(entry('released'), record.give, query, record);
    case 'settle':
      return taken(entry('settled'), record.give, query, record);
    case 'forfeit':
      return taken(entry('forfeited'), record.take, query, {});
    default:
      return undefined;
  }
}

/** The part of it that is this account's or this agent's; undefined where none is. */
function taken(
  entry: HistoryEntry,
  amounts: Readonly<Record<string, string>>,
  { account, agentId, grantId }: HistoryQuery,
  of: { readonly id?: string; readonly agent?: string; readonly call?: string },
): HistoryEntry | undefined {
  const prefix = `${account}|`;
  const all = entriesOf(amounts);
  const own = all.filter(([key]) => key.startsWith(prefix));
  const limits = all.flatMap(([key, amount]) => {
    const name = limitOf(key);
    if (name === undefined) return [];
    const isItsOwn = name.whose === `agent:${agentId}` || name.whose === `grant:${grantId}`;
    return isItsOwn ? [{ ...name, amount }] : [];
  });
  // A limit that the whole grant shares says nothing of this account where another one paid.
  const isCounted = of.agent === agentId || limits.some(({ whose }) => whose === `agent:${agentId}`);
  if (own.length === 0 && !isCounted) return undefined;
  return {
    ...entry,
    amounts: own.map(([key, amount]) => [key.slice(prefix.length), amount] as const),
    limits,
    ...(of.id === undefined ? {} : { reservation: of.id }),
    ...(of.agent === undefined ? {} : { agentId: of.agent }),
    ...(of.call === undefined ? {} : { call: of.call }),
  };
}
