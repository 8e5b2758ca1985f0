/** Budgets and their history as tables. */
import type { BudgetAmount, BudgetEntryView, BudgetView } from '../wire/socket/budget.ts';
import { table } from './table.ts';

export function budgetTable(budgets: readonly BudgetView[]): string {
  if (budgets.length === 0) return 'no budget';
  return table(
    ['UNIT', 'AMOUNT', 'SPENT', 'RESERVED', 'ALLOCATED', 'LEFT', 'A CRASH COSTS AT MOST'],
    budgets.map((budget) => {
      const { unit, decimals, amount, spent, reserved, allocated, lease } = budget;
      const left = BigInt(amount) - BigInt(spent) - BigInt(reserved) - BigInt(allocated);
      const parts = [amount, spent, reserved, allocated, String(left), lease];
      return [`${unit}.${decimals}`, ...parts.map((part) => decimal(part, decimals))];
    }),
  );
}

export function historyTable(entries: readonly BudgetEntryView[]): string {
  if (entries.length === 0) return 'nothing yet, or nothing that is still kept';
  return table(
    ['TIME', 'EVENT', 'AMOUNT', 'AGENT', 'RESERVATION', 'WHAT'],
    entries.map((entry) => [
      entry.at,
      entry.event,
      entry.amounts.map(amountText).join(', ') || '-',
      entry.agent === undefined ? '-' : (entry.agent.name ?? entry.agent.id),
      entry.reservation ?? '-',
      what(entry),
    ]),
  );
}

/** A whole number of smallest parts as people write it: 500 with 2 decimals is 5.00. */
export function decimal(amount: string, decimals: number): string {
  if (decimals === 0) return amount;
  const [sign, digits] = amount.startsWith('-') ? ['-', amount.slice(1)] : ['', amount];
  const padded = digits.padStart(decimals + 1, '0');
  return `${sign}${padded.slice(0, -decimals)}.${padded.slice(-decimals)}`;
}

function amountText({ amount, unit, decimals }: BudgetAmount): string {
  return `${decimal(amount, decimals)} ${unit}`;
}

function what({ call, limits, other }: BudgetEntryView): string {
  const counted = limits.map((limit) => `${amountText(limit)} of ${limit.policy} per ${limit.window}`);
  return [
    ...(call === undefined ? [] : [call]),
    ...(other === undefined ? [] : [other.name ?? other.id]),
    ...counted,
  ].join('; ');
}
