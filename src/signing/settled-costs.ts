/** What a settlement says, and whether its word counts. */
import type { PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import { BUDGET_FIELD } from '../wire/settlement.ts';
import type { SettlementRequest } from '../wire/socket/budget.ts';
import type { SettleableSignature } from './settleable.ts';
import { provenCost } from './settlement-proof.ts';

const MAX_CLAIM_LENGTH = 512;

/** For the record, before anything of it is believed. */
export function settlementClaim({ response, cost }: SettlementRequest): {
  readonly by: 'resource' | 'agent';
  readonly claim: string;
} {
  const claim =
    response === undefined
      ? (cost ?? []).map(({ unit, decimals, amount }) => `${amount} ${unit}.${decimals}`)
      : response.headers.filter(([name]) => name.toLowerCase() === BUDGET_FIELD).map(([, value]) => value);
  return {
    by: response === undefined ? 'agent' : 'resource',
    claim: claim
      .join(', ')
      .replace(/[^\x20-\x7e]/g, '?')
      .slice(0, MAX_CLAIM_LENGTH),
  };
}

/**
 * What it cost, by unit (`USD.2`).
 * @param resourceKeys by origin
 * @throws KeydError `policy_denied` where nobody's word counts here, `malformed_request`, those of `provenCost`
 */
export function settledCosts(
  { response, cost }: SettlementRequest,
  signature: SettleableSignature,
  resourceKeys: ReadonlyMap<string, readonly PublicJwk[]>,
  nowMs: number,
): ReadonlyMap<string, bigint> {
  if (response === undefined) return reported(cost ?? [], signature);
  const { request } = signature;
  const keys = request === undefined ? [] : (resourceKeys.get(request.target.origin) ?? []);
  if (request === undefined || keys.length === 0) {
    throw new KeydError(
      'policy_denied',
      'no key is pinned for the origin of this request ([[resource]]), so that its answers settle nothing',
    );
  }
  const { unit, decimals, amount } = provenCost(response, request, keys, nowMs);
  return new Map([[`${unit}.${decimals}`, amount]]);
}

function reported(
  cost: NonNullable<SettlementRequest['cost']>,
  { agentMayReport }: SettleableSignature,
): ReadonlyMap<string, bigint> {
  if (!agentMayReport) {
    throw new KeydError(
      'policy_denied',
      'only the resource’s signed answer settles this: no @settle("agent") on every policy that meters it',
    );
  }
  const costs = new Map(cost.map(({ unit, decimals, amount }) => [`${unit}.${decimals}`, BigInt(amount)]));
  if (costs.size < cost.length) throw new KeydError('malformed_request', 'a unit is there twice');
  return costs;
}
