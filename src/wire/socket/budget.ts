/** Socket API: budgets. Amounts are whole numbers of the unit's smallest part, as text. */
import { array, integer, object, optional, octets, refine, text, type Infer } from '../check.ts';
import { headerField, MAX_BODY_OCTETS } from './signing.ts';

export const unitName = text({
  maxLength: 32,
  pattern: /^[A-Za-z][A-Za-z0-9]{0,31}$/,
  what: 'a unit such as USD',
});
export const decimals = integer({ min: 0, max: 15 });
export const wholeAmount = text({
  maxLength: 40,
  pattern: /^(?:0|[1-9]\d*)$/,
  what: 'a whole number as text',
});

export const topUpRequest = object({ unit: unitName, decimals, amount: wholeAmount });
export type TopUpRequest = Infer<typeof topUpRequest>;

const response = object({
  status: integer({ min: 100, max: 599 }),
  headers: array(headerField, { max: 128 }),
  /** As it came, before any decoding. */
  body: optional(octets({ max: MAX_BODY_OCTETS })),
});

/**
 * What a signature cost in the end: `response` is the answer of the server, signed by its pinned key (S8); `cost`
 * the agent's own word, for policies that let it count. A unit that is not named stays spent in full.
 */
export const settlementRequest = refine(
  object({
    reservation: text({
      maxLength: 36,
      pattern: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
      what: 'a UUID',
    }),
    response: optional(response),
    cost: optional(array(object({ unit: unitName, decimals, amount: wholeAmount }), { min: 1, max: 16 })),
  }),
  ({ response: given, cost }) =>
    (given === undefined) === (cost === undefined) ? 'must have exactly one of response and cost' : undefined,
);
export type SettlementRequest = Infer<typeof settlementRequest>;

export interface BudgetAmount {
  readonly unit: string;
  readonly decimals: number;
  readonly amount: string;
}

export interface BudgetView extends BudgetAmount {
  /** Without what is reserved. */
  readonly spent: string;
  /** Held by signatures under way. */
  readonly reserved: string;
  /** Given on to sub-agents. */
  readonly allocated: string;
  /** What a crash of this host would cost at most. */
  readonly lease: string;
}

export const HISTORY_EVENTS = [
  'ceiling',
  'reserved',
  'released',
  'settled',
  'allocated',
  'received',
  'topped-up',
  'returned',
  'closed',
  'forfeited',
] as const;

/** One thing that became of a budget. */
export interface BudgetEntryView {
  /** Goes up with time. */
  readonly index: number;
  /** RFC 3339. */
  readonly at: string;
  readonly event: (typeof HISTORY_EVENTS)[number];
  readonly amounts: readonly BudgetAmount[];
  /** Limits of policies that were counted with it. */
  readonly limits: readonly (BudgetAmount & { readonly policy: string; readonly window: string })[];
  readonly reservation?: string;
  /** The agent that signed, and what; the name and the call only for who may see that agent. */
  readonly agent?: { readonly id: string; readonly name?: string };
  readonly call?: string;
  /** The sub-agent it went to or came from, or the parent. */
  readonly other?: { readonly id: string; readonly name?: string };
}

export interface BudgetHistoryView {
  /** The newest first. */
  readonly entries: readonly BudgetEntryView[];
  /** `before` of the next page; null at the end of what is kept. */
  readonly next: number | null;
}
