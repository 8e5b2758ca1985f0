/** The ledger's words as the socket says them. */
import type { HistoryEntry, HistoryPage } from '../ledger/history.ts';
import { delegatedAgent } from '../signing/delegation.ts';
import type { BudgetAmount, BudgetEntryView, BudgetHistoryView } from '../wire/socket/budget.ts';

/** @param unit `USD.2` */
export function amountView(unit: string, amount: bigint): BudgetAmount {
  const dot = unit.lastIndexOf('.');
  return { unit: unit.slice(0, dot), decimals: Number(unit.slice(dot + 1)), amount: String(amount) };
}

/** @param nameOf the name of an agent that the caller may see; undefined for any other */
export function historyView(
  { entries, next }: HistoryPage,
  nameOf: (agentId: string) => string | undefined,
): BudgetHistoryView {
  const names = new Map<string, string | undefined>();
  const named = (id: string): { readonly id: string; readonly name?: string } => {
    if (!names.has(id)) names.set(id, nameOf(id));
    const name = names.get(id);
    return { id, ...(name === undefined ? {} : { name }) };
  };
  return { entries: entries.map((entry) => entryView(entry, named)), next: next ?? null };
}

function entryView(
  { index, at, event, amounts, limits, reservation, agentId, call, other }: HistoryEntry,
  named: (id: string) => { readonly id: string; readonly name?: string },
): BudgetEntryView {
  const agent = agentId === undefined ? undefined : named(agentId);
  // An account without an agent is the root's: a grant is no agent.
  const otherId = other === undefined ? undefined : delegatedAgent(other);
  return {
    index,
    at: new Date(at).toISOString(),
    event,
    amounts: amounts.map(([unit, amount]) => amountView(unit, amount)),
    limits: limits.map(({ policy, window, unit, amount }) => ({
      ...amountView(unit, amount),
      policy,
      window,
    })),
    ...(reservation === undefined ? {} : { reservation }),
    ...(agent === undefined ? {} : { agent }),
    ...(call === undefined || agent?.name === undefined ? {} : { call }),
    ...(otherId === undefined ? {} : { other: named(otherId) }),
  };
}
