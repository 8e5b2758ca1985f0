/**
 * Entries of the audit log, as they stand in it: JSON, one object each, that says where it stands and what stood
 * before it. No entry holds a secret, a token, a body, a header value, a query or the value of a claim.
 */
import { encodeBase64url } from './base64url.ts';
import {
  anyJson,
  array,
  dictionary,
  integer,
  object,
  oneOf,
  optional,
  parse,
  text,
  type Infer,
} from './check.ts';
import { COMMAND_AUDIT_DOUBTS, COMMAND_AUDIT_EFFECTS } from './command-audit.ts';
import type { Hash } from './merkle.ts';
import { isOrdinaryEntry } from './ordinary-entry.ts';
import { KeydError } from './problem.ts';
import { intent } from './socket/intent.ts';
import { parseStrictJson } from './strict-json.ts';

/** Octets of one entry. */
export const MAX_ENTRY_OCTETS = 65_536;
const LIMITS = { maxDepth: 8, maxOctets: MAX_ENTRY_OCTETS } as const;
const HASH_OCTETS = 32;
const count = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const line = text({ maxLength: 2048 });
const words = array(line, { max: 256 });
const hex = text({ maxLength: 64, pattern: /^[0-9a-f]{64}$/ });

const common = {
  /** Place in the log: one that is missing, or stands elsewhere, is told by name. */
  index: count,
  /** Leaf hash of the entry before it, base64url; of the first: 32 zero octets. */
  previous: text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/ }),
  /** Milliseconds since the epoch, by this host's clock. */
  at: count,
} as const;

const agent = object({ id: line, name: line, kid: line });

/** The kernel's word. */
const caller = object({
  ingress: line,
  uid: count,
  gid: count,
  pid: count,
  startTimeTicks: optional(line),
  executableSha256: optional(hex),
  unit: optional(line),
  containerId: optional(line),
});

const authority = object({
  principal: line,
  grantId: line,
  depth: count,
  links: array(object({ jti: line, agent: line, kid: line }), { max: 16 }),
});

const charge = object({
  kind: oneOf(['budget', 'limit']),
  unit: line,
  /** Whole numbers of the smallest part, as text. */
  amount: line,
  policy: optional(line),
  window: optional(line),
});

const decision = object({
  ...common,
  kind: oneOf(['decision']),
  action: line,
  effect: oneOf(['permit', 'deny', 'pending']),
  policies: words,
  policyVersion: count,
  caller,
  agent: optional(agent),
  octetsSha256: optional(hex),
  parameters: dictionary(/^[A-Za-z]{1,64}$/, anyJson, { max: 32 }),
  authority: optional(authority),
  intent: optional(intent),
  reservation: optional(object({ id: line, charges: array(charge, { max: 64 }) })),
  refusal: optional(line),
  observed: optional(array(object({ set: line, effect: line, policies: words }), { max: 64 })),
});

const outcome = object({
  ...common,
  kind: oneOf(['outcome']),
  /** Index of its decision. */
  decision: count,
  effect: oneOf(['done', 'failed', 'outcome-unknown']),
  signatureSha256: optional(hex),
  code: optional(line),
  settlement: optional(line),
});

/** Denials of one caller beyond its quota of full entries. */
const denials = object({ ...common, kind: oneOf(['denials']), share: line, count, since: count });

/** The signed tree head over everything before it. */
const checkpoint = object({ ...common, kind: oneOf(['checkpoint']), note: line });

/** A value of the TPM's counter, certified by the AK over the heads of log and ledger. base64url. */
const anchor = object({
  ...common,
  kind: oneOf(['anchor']),
  value: line,
  attest: line,
  signature: line,
  head: line,
});

/** The TPM's digest over every TPM2_Sign, taken and signed by the AK, and what is to be said of it (command-audit.ts). */
const commandAudit = object({
  ...common,
  kind: oneOf(['command-audit']),
  effect: oneOf(COMMAND_AUDIT_EFFECTS),
  reason: optional(oneOf(COMMAND_AUDIT_DOUBTS)),
  /** How many TPM2_Sign this daemon had performed since it was last taken. */
  signed: count,
  /** What the digest should be, base64url; empty for none. */
  expected: text({ maxLength: 43, pattern: /^(?:[A-Za-z0-9_-]{43})?$/ }),
  auditHead: text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ }),
  auditSize: count,
  /** TPMT_PUBLIC of the AK, TPMS_ATTEST and TPMT_SIGNATURE; base64url. */
  ak: line,
  attest: line,
  signature: line,
});

/** What happened to the daemon itself. */
const event = object({
  ...common,
  kind: oneOf(['event']),
  event: oneOf(['start', 'stop', 'policy-loaded', 'rollback-accepted', 'torn-tail']),
  detail: dictionary(/^[A-Za-z]{1,64}$/, anyJson, { max: 16 }),
});

const SHAPES = {
  decision,
  outcome,
  denials,
  checkpoint,
  anchor,
  'command-audit': commandAudit,
  event,
} as const;

export type AuditEntry =
  | Infer<typeof decision>
  | Infer<typeof outcome>
  | Infer<typeof denials>
  | Infer<typeof checkpoint>
  | Infer<typeof anchor>
  | Infer<typeof commandAudit>
  | Infer<typeof event>;

/** What is appended: the log itself adds where it stands. A member that is undefined is left out. */
export type AuditRecord = Unplaced<AuditEntry>;
export type DecisionRecord = Extract<AuditRecord, { readonly kind: 'decision' }>;
export type CommandAuditRecord = Extract<AuditRecord, { readonly kind: 'command-audit' }>;
export type OutcomeRecord = Extract<AuditRecord, { readonly kind: 'outcome' }>;
type Unplaced<E> = E extends unknown ? Sparse<Omit<E, 'index' | 'previous'>> : never;
type Sparse<T> = T extends readonly (infer Item)[]
  ? readonly Sparse<Item>[]
  : T extends object
    ? { readonly [K in keyof T]: undefined extends T[K] ? Sparse<T[K]> | undefined : Sparse<T[K]> }
    : T;

/** `previous` of the first entry. */
export const NO_ENTRY: Hash = new Uint8Array(HASH_OCTETS);

/**
 * Octets of an entry; they, and not its members, are what the tree is over.
 * @param previous leaf hash of the entry before it
 * @throws KeydError `malformed_structure` for what could not be read again
 */
export function encodeAuditEntry(record: AuditRecord, index: number, previous: Hash): Uint8Array {
  const entry = { index, previous: encodeBase64url(previous), ...record };
  if (!isOrdinaryEntry(entry)) {
    parse<AuditEntry>(SHAPES[record.kind], entry, 'malformed_structure');
    if (isDeeper(entry, LIMITS.maxDepth))
      throw new KeydError('malformed_structure', 'an entry is nested too deep');
  }
  const octets = Buffer.from(JSON.stringify(entry), 'utf8');
  if (octets.length > MAX_ENTRY_OCTETS)
    throw new KeydError('malformed_structure', `an entry of ${octets.length} octets is too long`);
  return octets;
}

/** @throws KeydError `malformed_json`, `malformed_structure` */
export function parseAuditEntry(octets: Uint8Array): AuditEntry {
  const value = plainJson(octets) ?? parseStrictJson(octets, LIMITS);
  const kind = (value as { readonly kind?: unknown } | null)?.kind;
  const shape =
    typeof kind === 'string' && Object.hasOwn(SHAPES, kind) ? SHAPES[kind as keyof typeof SHAPES] : event;
  return parse<AuditEntry>(shape, value, 'malformed_structure');
}

/**
 * The value of a document that is exactly as `JSON.stringify` writes it, hence free of all that a strict parser
 * refuses; a million entries are read several times as fast. Undefined for any other.
 */
function plainJson(octets: Uint8Array): unknown {
  if (octets.length > MAX_ENTRY_OCTETS) return undefined;
  const document = Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('utf8');
  try {
    const value = JSON.parse(document) as unknown;
    const isPlain = JSON.stringify(value) === document && Buffer.byteLength(document) === octets.length;
    const hasOddities = document.includes('\uFFFD') || document.includes('\\u');
    return isPlain && !hasOddities && !isDeeper(value, LIMITS.maxDepth) ? value : undefined;
  } catch {
    return undefined; // the strict parser says what is wrong
  }
}

function isDeeper(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((member) => isDeeper(member, depth - 1));
}
