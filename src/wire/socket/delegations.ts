/** Socket API: delegations (docs/openapi.yaml). What a constraint may be is said by the delegation room. */
import { ALGORITHMS } from '../algorithms.ts';
import {
  anyJson,
  array,
  boolean,
  integer,
  object,
  oneOf,
  optional,
  text,
  type Infer,
  type Shape,
} from '../check.ts';
import { intent } from './intent.ts';
import type { AgentView } from './agents.ts';

/** Sub-agents that one call may make. */
export const MAX_DELEGATION_BATCH = 50;
/** 30 days. The links of a delegation live an hour at most; the daemon renews them until then. */
export const MAX_DELEGATION_SECONDS = 30 * 24 * 60 * 60;

/** As AAuth's budget object: an amount in whole numbers of the unit's smallest part. */
export const budgetAmount = object({
  unit: text({ maxLength: 32, pattern: /^[A-Za-z][A-Za-z0-9]*$/, what: 'letters and digits' }),
  decimals: integer({ min: 0, max: 15 }),
  amount: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
});

const members = {
  /** The last segment of the sub-agent's name; the stem of it for an ephemeral one. */
  name: text({ maxLength: 63 }),
  scopes: array(text({ maxLength: 128 }), { max: 64 }),
  aud: array(text({ maxLength: 512 }), { min: 1, max: 64 }),
  constraints: array(anyJson, { max: 64 }),
  budget: optional(array(budgetAmount, { max: 16 })),
  /** Seconds. */
  expiresIn: integer({ min: 1, max: MAX_DELEGATION_SECONDS }),
  /** `del_max_depth` of the link: the depth that sub-agents below may reach. Default: the parent's. */
  maxDepth: optional(integer({ min: 0, max: 64 })),
  /** A sub-agent for this connection: retired, its key gone, when the connection closes. */
  ephemeral: optional(boolean),
  /** Default: the parent's. */
  backend: optional(oneOf(['tpm', 'pkcs11'])),
  algorithm: optional(oneOf(ALGORITHMS)),
} as const;

const single = object({ ...members, intent: optional(intent) });
const batch = object({
  batch: array(object(members), { min: 1, max: MAX_DELEGATION_BATCH }),
  intent: optional(intent),
});

export type DelegationRequest = Infer<ReturnType<typeof object<typeof members>>>;
export type DelegateRequest = Infer<typeof single> | Infer<typeof batch>;

/** `POST /v1/agents/{agent}/delegations`: one, or a batch that is made as a whole or not at all. */
export const delegateRequest: Shape<DelegateRequest> = (value, path, faults) =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, 'batch')
    ? batch(value, path, faults)
    : single(value, path, faults);

/** `POST /v1/agents/{agent}/revoke`. */
export const revokeRequest = object({ reason: optional(oneOf(['done', 'compromise'])) });
export type RevokeRequest = Infer<typeof revokeRequest>;

/** A sub-agent that was made, and the chain of tokens it presents: DT₀ first, its own link last. */
export interface DelegationReply {
  readonly agent: AgentView;
  readonly chain: readonly string[];
}

export type DelegateReply = DelegationReply | { readonly results: readonly DelegationReply[] };
