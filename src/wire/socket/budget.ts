/** Socket API: budgets. Amounts are whole numbers of the unit's smallest part, as text. */
import { array, integer, object, optional, octets, text, type Infer } from '../check.ts';

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

/**
 * What a signature cost in the end. `response` is the answer of the server, signed by its pinned key (S8);
 * without it nothing is lowered.
 */
export const settlementRequest = object({
  reservation: text({
    maxLength: 36,
    pattern: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    what: 'a UUID',
  }),
  response: object({
    status: integer({ min: 100, max: 599 }),
    headers: array(
      (value, path, faults): readonly [string, string] => {
        if (Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === 'string')) {
          return [String(value[0]), String(value[1])];
        }
        faults.push(`${path} must be [name, value]`);
        return ['', ''];
      },
      { max: 64 },
    ),
    body: optional(octets({ max: 1024 * 1024 })),
  }),
});
export type SettlementRequest = Infer<typeof settlementRequest>;

export interface BudgetView {
  readonly unit: string;
  readonly decimals: number;
  readonly amount: string;
  readonly spent: string;
  readonly reserved: string;
  readonly allocated: string;
  /** What a crash of this host would cost at most. */
  readonly lease: string;
}
