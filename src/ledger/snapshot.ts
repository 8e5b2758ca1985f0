/**
 * Snapshots: the book as records that begin a segment, so that the journal before it can go and a start reads
 * only what came since. The switch is one segment made durable; a crash before it leaves the old ones in force.
 */
import { join } from 'node:path';
import { listSegments } from '../base/journal-files.ts';
import { readSegment } from '../base/journal-segment.ts';
import { KeydError } from '../wire/problem.ts';
import type { Book } from './book.ts';
import {
  amountsOf,
  decodeRecord,
  entriesOf,
  type LedgerRecord,
  type PartRecord,
  type SnapshotRecord,
} from './records.ts';

/** Octets of items in one part, far below what a record may have. */
const PART_OCTETS = 128 * 1024;

type Items = Omit<PartRecord, 't' | 'at'>;
type Item = { readonly [K in keyof Items]: readonly [K, Items[K][number]] }[keyof Items];

/** The book as records. @param chain hash of every record so far, base64url */
export function snapshotOf(book: Book, chain: string, at: number): readonly LedgerRecord[] {
  const parts = partsOf(book).map((items) => ({ t: 'part', at, ...items }) as const);
  const { epoch, intent } = book;
  const head: SnapshotRecord = {
    t: 'snapshot',
    at,
    parts: parts.length,
    chain,
    epoch: String(epoch.number),
    leases: amountsOf(epoch.leases),
    ...(intent === undefined
      ? {}
      : { intent: { epoch: String(intent.number), leases: amountsOf(intent.leases) } }),
  };
  return [head, ...parts];
}

/** Reads a record of a snapshot into a book that began empty. @throws KeydError `ledger_unavailable` */
export function restore(book: Book, record: LedgerRecord): void {
  book.latestMs = Math.max(book.latestMs, record.at);
  if (record.t === 'snapshot') {
    const { epoch, intent, leases } = record;
    book.epoch = { number: BigInt(epoch), leases: new Map(entriesOf(leases)), used: new Map() };
    book.intent =
      intent === undefined
        ? undefined
        : { number: BigInt(intent.epoch), leases: new Map(entriesOf(intent.leases)) };
    return;
  }
  if (record.t !== 'part')
    throw new KeydError('ledger_unavailable', `a snapshot has a record ${record.t} among its parts`);
  for (const { key, amount, spent, allocated, parent } of record.purses) {
    book.purses.set(key, {
      amount: BigInt(amount),
      spent: BigInt(spent),
      allocated: BigInt(allocated),
      parent,
    });
  }
  for (const { account, parent } of record.accounts) book.parents.set(account, parent);
  for (const { account, releaseAt } of record.closing) book.closing.set(account, releaseAt);
  for (const { id, take } of record.reservations) book.reservations.set(id, take);
  for (const { key, amount } of record.used) book.epoch.used.set(key, BigInt(amount));
}

/**
 * Index of the newest whole snapshot that begins a segment, of the record after it, and of the snapshot before
 * it; all 0 where the journal is whole from its beginning.
 * @throws KeydError `ledger_unavailable` where neither is there
 */
export function findSnapshot(
  directory: string,
  name: string,
): { readonly first: number; readonly end: number; readonly before: number } {
  const segments = listSegments(directory, name);
  let newest: { readonly first: number; readonly end: number } | undefined;
  for (const { file, first } of segments.toReversed()) {
    const parts = wholeParts(join(directory, file));
    if (parts === undefined) continue;
    if (newest !== undefined) return { ...newest, before: first };
    newest = { first, end: first + 1 + parts };
  }
  const isWhole = (segments[0]?.first ?? 0) === 0;
  if (newest !== undefined) return { ...newest, before: isWhole ? 0 : newest.first };
  if (isWhole) return { first: 0, end: 0, before: 0 };
  throw new KeydError('ledger_unavailable', `${directory} has neither its beginning nor a snapshot`);
}

/** What an account that ends gives back, and to whom. */
export function returnRecord(book: Book, account: string, at: number): LedgerRecord {
  const parent = book.parents.get(account);
  const left = book
    .budgets(account)
    .map(({ unit, amount, spent, allocated }) => [unit, amount - spent - allocated] as const);
  return {
    t: 'return',
    at,
    account,
    ...(parent === undefined ? {} : { parent, give: amountsOf(left.filter(([, amount]) => amount >= 0n)) }),
  };
}

/** How many parts the snapshot at the beginning of a segment has; undefined where there is no whole one. */
function wholeParts(path: string): number | undefined {
  let wanted: number | undefined;
  let found = 0;
  readSegment(path, (octets, at) => {
    const record = decodeRecord(octets);
    if (at === 0) wanted = record.t === 'snapshot' ? record.parts : undefined;
    else if (record.t === 'part') found += 1;
    else return false;
    return wanted !== undefined && found < wanted;
  });
  return wanted !== undefined && found >= wanted ? wanted : undefined;
}

/** What the book holds, in portions that fit a record; at least one. */
function partsOf(book: Book): readonly Items[] {
  const parts: Items[] = [];
  let part = emptyPart();
  let octets = 0;
  for (const [kind, item] of itemsOf(book)) {
    (part[kind] as unknown[]).push(item);
    octets += JSON.stringify(item).length;
    if (octets < PART_OCTETS) continue;
    parts.push(part);
    part = emptyPart();
    octets = 0;
  }
  return octets > 0 || parts.length === 0 ? [...parts, part] : parts;
}

function emptyPart(): Items {
  return { purses: [], accounts: [], closing: [], reservations: [], used: [] };
}

function* itemsOf(book: Book): Generator<Item> {
  for (const [key, { amount, spent, allocated, parent }] of book.purses) {
    const amounts = { amount: String(amount), spent: String(spent), allocated: String(allocated) };
    yield ['purses', { key, ...amounts, ...(parent === undefined ? {} : { parent }) }];
  }
  for (const [account, parent] of book.parents) yield ['accounts', { account, parent }];
  for (const [account, releaseAt] of book.closing) yield ['closing', { account, releaseAt }];
  for (const [id, take] of book.reservations) yield ['reservations', { id, take }];
  for (const [key, amount] of book.epoch.used) yield ['used', { key, amount: String(amount) }];
}
