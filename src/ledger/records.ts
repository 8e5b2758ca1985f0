/** What the ledger's journal holds, one JSON object a record; amounts as decimal text. */
import {
  array,
  dictionary,
  integer,
  object,
  oneOf,
  optional,
  parse,
  text,
  type Infer,
} from '../wire/check.ts';
import { parseStrictJson } from '../wire/strict-json.ts';

/** First part of the names of its files. */
export const LEDGER_JOURNAL = 'ledger';

const LIMITS = { maxDepth: 5, maxOctets: 1024 * 1024 } as const;
const amount = text({ maxLength: 40, pattern: /^(?:0|[1-9]\d*)$/ });
const name = text({ maxLength: 1024 });
const time = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const epoch = text({ maxLength: 20, pattern: /^\d+$/ });
/** By key of the purse. */
const amounts = dictionary(/^[\s\S]{1,1024}$/, amount, { max: 4096 });

/** The ceilings of a grant, by unit; set anew whenever the issuer says so. */
const grant = object({ t: oneOf(['grant']), at: time, account: name, budgets: amounts });
/** A child's purses, taken out of its parent's. `more`: added to purses that are there. */
const allocate = object({
  t: oneOf(['allocate', 'top-up']),
  at: time,
  parent: name,
  child: name,
  budgets: amounts,
});
/** From `releaseAt` on what is left goes back to the parent. */
const close = object({ t: oneOf(['close']), at: time, account: name, releaseAt: time });
const returned = object({
  t: oneOf(['return']),
  at: time,
  account: name,
  /** To whom, and how much: for the history. What counts is what the account has at this point. */
  parent: optional(name),
  give: optional(amounts),
});
const reserve = object({
  t: oneOf(['reserve']),
  at: time,
  id: name,
  take: amounts,
  /** Limits that come into being with this reservation, and their amounts. */
  limits: optional(amounts),
  /** Of which agent's key, and for what: for the history. */
  agent: optional(name),
  call: optional(name),
});
/** What is given back of a reservation; all of it where hardware was never asked. */
const release = object({ t: oneOf(['release', 'settle']), at: time, id: name, give: amounts });
/** The next epoch is about to begin: synced before the counter moves. */
const intent = object({ t: oneOf(['intent']), at: time, epoch, leases: amounts });
const opened = object({ t: oneOf(['epoch']), at: time, epoch });
/** At a start: what the leases of an epoch that did not end cleanly cost. */
const forfeit = object({ t: oneOf(['forfeit']), at: time, epoch, take: amounts });
/** An operator went on with a ledger older than the counter. */
const accepted = object({ t: oneOf(['accepted']), at: time, epoch, by: name });

/**
 * All that the records before it come to, in `parts` records that follow it at once. Where it begins a segment,
 * nothing before that is needed any more; anywhere else it says nothing new.
 */
const snapshot = object({
  t: oneOf(['snapshot']),
  at: time,
  parts: integer({ min: 1, max: 1_000_000 }),
  /** Hash of every record before it, base64url. */
  chain: text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ }),
  epoch,
  leases: amounts,
  intent: optional(object({ epoch, leases: amounts })),
});
const MAX_ITEMS = 65_536;
const part = object({
  t: oneOf(['part']),
  at: time,
  purses: array(object({ key: name, amount, spent: amount, allocated: amount, parent: optional(name) }), {
    max: MAX_ITEMS,
  }),
  accounts: array(object({ account: name, parent: name }), { max: MAX_ITEMS }),
  closing: array(object({ account: name, releaseAt: time }), { max: MAX_ITEMS }),
  reservations: array(object({ id: name, take: amounts }), { max: MAX_ITEMS }),
  used: array(object({ key: name, amount }), { max: MAX_ITEMS }),
});

const SHAPES = {
  snapshot,
  part,
  grant,
  allocate,
  'top-up': allocate,
  close,
  return: returned,
  reserve,
  release,
  settle: release,
  intent,
  epoch: opened,
  forfeit,
  accepted,
} as const;

export type SnapshotRecord = Infer<typeof snapshot>;
export type PartRecord = Infer<typeof part>;
export type LedgerRecord =
  | SnapshotRecord
  | PartRecord
  | Infer<typeof grant>
  | Infer<typeof allocate>
  | Infer<typeof close>
  | Infer<typeof returned>
  | Infer<typeof reserve>
  | Infer<typeof release>
  | Infer<typeof intent>
  | Infer<typeof opened>
  | Infer<typeof forfeit>
  | Infer<typeof accepted>;

export function encodeRecord(record: LedgerRecord): Uint8Array {
  return Buffer.from(JSON.stringify(record), 'utf8');
}

/** @throws KeydError `malformed_json`, `ledger_unavailable` */
export function decodeRecord(octets: Uint8Array): LedgerRecord {
  const value = parseStrictJson(octets, LIMITS);
  const kind = String((value as { readonly t?: unknown } | null)?.t);
  const shape = Object.hasOwn(SHAPES, kind) ? SHAPES[kind as keyof typeof SHAPES] : accepted;
  return parse<LedgerRecord>(shape, value, 'ledger_unavailable');
}

/** Decimal text, by key of the purse. */
export type Amounts = Readonly<Record<string, string>>;

export function amountsOf(entries: Iterable<readonly [string, bigint]>): Amounts {
  return Object.fromEntries([...entries].map(([key, value]) => [key, String(value)]));
}

export function entriesOf(given: Amounts): readonly (readonly [string, bigint])[] {
  return Object.entries(given).map(([key, value]) => [key, BigInt(value)] as const);
}
