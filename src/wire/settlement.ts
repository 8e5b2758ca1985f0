/**
 * How a resource says what a request has cost, so that its word can be checked: `AAuth-Budget` of draft-hardt-aauth-budgets,
 * in a response signed (RFC 9421) over it, the status, the content and the signature of the very request (S8).
 */
import { component, type SignatureComponent } from './http-signature.ts';
import { KeydError } from './problem.ts';
import { serializeItem, serializeMember } from './structured-fields.ts';
import { isInnerList, parseSfDictionary, type SfMember } from './structured-fields-parse.ts';

export const BUDGET_FIELD = 'aauth-budget';

/** Covered by the signature of such a response; it may cover more. */
export const SETTLEMENT_COMPONENTS: readonly SignatureComponent[] = [
  component('@status'),
  component('content-digest'),
  component(BUDGET_FIELD),
  component('signature', [['req', true]]),
];

export interface ResourceCost {
  /** Such as USD. */
  readonly unit: string;
  readonly decimals: number;
  /** A whole number of the unit's smallest part, at most 15 digits. */
  readonly amount: bigint;
}

const MAX_DECIMALS = 15;
const UNIT = /^[A-Za-z][A-Za-z0-9]{0,31}$/;

/** The field's value. @throws KeydError `invalid_component` for an amount of more than 15 digits */
export function budgetField({ unit, decimals, amount }: ResourceCost): string {
  return [
    serializeMember('cost', serializeItem({ value: Number(amount), parameters: [] })),
    serializeMember('unit', serializeItem({ value: unit, parameters: [] })),
    serializeMember('decimals', serializeItem({ value: decimals, parameters: [] })),
  ].join(', ');
}

/**
 * What the field says it cost. Its other members (`remaining` and the like) say nothing here; without unit and
 * decimals a number means nothing.
 * @throws KeydError `invalid_header`
 */
export function parseBudgetField(text: string): ResourceCost {
  const members = parseSfDictionary(text, BUDGET_FIELD);
  const cost = bareItem(members.get('cost'));
  const unit = bareItem(members.get('unit'));
  const decimals = bareItem(members.get('decimals'));
  if (typeof cost !== 'number' || cost < 0) return refuse('has no cost of zero or more');
  if (typeof unit !== 'string' || !UNIT.test(unit)) return refuse('has no unit such as "USD"');
  if (typeof decimals !== 'number' || decimals < 0 || decimals > MAX_DECIMALS)
    return refuse(`has no decimals from 0 to ${MAX_DECIMALS}`);
  return { unit, decimals, amount: BigInt(cost) };
}

function bareItem(member: SfMember | undefined): unknown {
  return member === undefined || isInnerList(member) || member.parameters.length > 0
    ? undefined
    : member.value;
}

function refuse(reason: string): never {
  throw new KeydError('invalid_header', `${BUDGET_FIELD} ${reason}`);
}
