/**
 * Entries of the audit log, as they stand in it: JSON, one object each. No entry holds a secret, a token, a
 * body, a header value, a query or the value of a claim.
 */
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
import { intent } from './socket/intent.ts';
import { parseStrictJson } from './strict-json.ts';

const LIMITS = { maxDepth: 8, maxOctets: 65_536 } as const;
const count = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const line = text({ maxLength: 2048 });
const words = array(line, { max: 256 });
const hex = text({ maxLength: 64, pattern: /^[0-9a-f]{64}$/ });

const common = { /** Milliseconds since the epoch, by this host's clock. */ at: count } as const;

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

/** What happened to the daemon itself. */
const event = object({
  ...common,
  kind: oneOf(['event']),
  event: oneOf(['start', 'stop', 'policy-loaded', 'rollback-accepted', 'torn-tail']),
  detail: dictionary(/^[A-Za-z]{1,64}$/, anyJson, { max: 16 }),
});

const SHAPES = { decision, outcome, denials, checkpoint, anchor, event } as const;

export type DecisionRecord = Infer<typeof decision>;
export type OutcomeRecord = Infer<typeof outcome>;
export type AuditEntry =
  | DecisionRecord
  | OutcomeRecord
  | Infer<typeof denials>
  | Infer<typeof checkpoint>
  | Infer<typeof anchor>
  | Infer<typeof event>;

/** Octets of an entry; they, and not its members, are what the tree is over. */
export function encodeAuditEntry(entry: AuditEntry): Uint8Array {
  return Buffer.from(JSON.stringify(entry), 'utf8');
}

/** @throws KeydError `malformed_json`, `malformed_structure` */
export function parseAuditEntry(octets: Uint8Array): AuditEntry {
  const value = parseStrictJson(octets, LIMITS);
  const kind = (value as { readonly kind?: unknown } | null)?.kind;
  const shape = Object.hasOwn(SHAPES, String(kind)) ? SHAPES[kind as keyof typeof SHAPES] : event;
  return parse<AuditEntry>(shape, value, 'malformed_structure');
}
