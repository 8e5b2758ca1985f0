/** A file of policy cases as it stands (docs/policy.md): what is given, what is asked, what should come of it. */
import { ALGORITHMS } from '../../wire/algorithms.ts';
import { ASSURANCE_LEVELS } from '../../wire/assurance.ts';
import {
  anyJson,
  array,
  boolean,
  dictionary,
  integer,
  object,
  oneOf,
  optional,
  text,
  type Infer,
  type Shape,
} from '../../wire/check.ts';

const MAX_ITEMS = 256;
const count = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
/** `USD.2`. */
const UNIT = /^[A-Za-z][A-Za-z0-9_-]{0,31}\.(?:[0-9]|1[0-8])$/;
const id = integer({ min: 0, max: 0xffff_fffe });
const word = text({ maxLength: 1024 });
const words = array(word, { max: MAX_ITEMS });

/** A TOML date-time with an offset. */
const instant: Shape<number> = (value, path, faults) => {
  const isLocal = (value as { isLocal?: () => boolean } | null)?.isLocal?.() === true;
  if (value instanceof Date && !isLocal && !Number.isNaN(value.getTime())) return value.getTime();
  faults.push(`${path} must be a date and time with its offset, such as 2026-11-26T12:00:00Z`);
  return 0;
};

const caller = object({
  uid: id,
  gid: optional(id),
  groups: optional(array(id, { max: MAX_ITEMS })),
  ingress: optional(oneOf(['shared', 'admin', 'agent'])),
  ingressAgent: optional(word),
  unit: optional(word),
  containerId: optional(word),
  executableSha256: optional(word),
  roles: optional(array(oneOf(['operate', 'approve', 'policy']), { max: 3 })),
});

const agent = object({
  name: word,
  ownerUid: optional(id),
  backend: optional(oneOf(['tpm', 'pkcs11'])),
  algorithm: optional(oneOf(ALGORITHMS)),
});

const attestation = object({
  status: oneOf(['none', 'good', 'failing']),
  level: optional(oneOf(ASSURANCE_LEVELS)),
  ageSeconds: optional(count),
});

const authority = object({
  principal: optional(word),
  grantId: optional(word),
  development: optional(boolean),
  maxDepth: optional(count),
  chain: optional(words),
  scopes: optional(words),
  audiences: optional(words),
  expiresInSeconds: optional(count),
});

const usage = object({
  firstUseOfOrigin: optional(boolean),
  lastMinute: optional(count),
  lastHour: optional(count),
  lastDay: optional(count),
});

/** What is so when the request is made. Every member of a case takes the place of the file's. */
const situation = {
  now: optional(instant),
  caller: optional(caller),
  agent: optional(agent),
  attestation: optional(attestation),
  authority: optional(authority),
  /** What is left, in the unit's smallest part. */
  budgets: optional(dictionary(UNIT, count, { max: 64 })),
  usage: optional(usage),
  /** `operation`, and the members of that call; without `operation`, beside those of `[given.request]`. */
  request: optional(dictionary(/^[a-zA-Z]{1,32}$/, anyJson, { max: 64 })),
} as const;

const givenShape = object(situation);
export type Given = Infer<typeof givenShape>;

const caseShape = object({
  ...situation,
  name: text({ maxLength: 256 }),
  expect: oneOf(['permit', 'approval', 'deny']),
  /** The deciding policies, all of them, in any order. */
  policies: optional(words),
  /** Of a denial: its code. */
  code: optional(text({ maxLength: 64, pattern: /^[a-z_0-9]+$/ })),
  /** Of a permit: what it takes from budgets, `"300000 USD.2"`. */
  charges: optional(words),
});
export type Case = Infer<typeof caseShape>;

export const casesFile = object({
  /** Files of the set, beside this one. */
  policies: optional(array(text({ maxLength: 255 }), { min: 1, max: MAX_ITEMS })),
  given: optional(givenShape),
  case: array(caseShape, { min: 1, max: 4096 }),
});
export type CasesFile = Infer<typeof casesFile>;
