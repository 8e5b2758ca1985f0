import { createHash } from 'node:crypto';
import { callerShare, type Caller } from '../caller/caller.ts';
import type { Decision, PendingTerms } from '../policy/decision.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { canonicalJson } from '../wire/jcs.ts';
import { toJson } from '../wire/json-octets.ts';
import type { Agent } from './agent.ts';

/**
 * What a person allows, base64url SHA-256: the typed request as it was made (so without the time and nonce
 * that the daemon sets), the key, who asks, the policies that want it, and what it costs (S12).
 */
export function approvalDigest(
  caller: Caller,
  agent: Agent,
  operation: string,
  request: unknown,
  terms: PendingTerms,
  decision: Decision,
): string {
  const document = {
    version: 1,
    operation,
    request: toJson(request),
    agentId: agent.id,
    kid: agent.kid,
    caller: callerShare(caller),
    uid: caller.uid,
    policies: [...decision.policies].sort(),
    level: terms.level,
    charges: terms.charges.map((charge) => ({ ...charge, ...amounts(charge) })),
  };
  return encodeBase64url(createHash('sha256').update(canonicalJson(document)).digest());
}

/** Whole numbers as text: JSON has no exact ones. */
function amounts(charge: PendingTerms['charges'][number]): Readonly<Record<string, string>> {
  return charge.kind === 'limit'
    ? { amount: String(charge.amount), limit: String(charge.limit) }
    : { amount: String(charge.amount) };
}
