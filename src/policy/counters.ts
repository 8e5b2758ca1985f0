/** What policy reads of the ledger, and how it takes from it. */
import type { BudgetState, Charge, Payer, Reservation } from '../ledger/charge.ts';

export {
  USES,
  WINDOWS,
  type BudgetState,
  type Charge,
  type Payer,
  type Reservation,
  type UnitName,
  type Window,
} from '../ledger/charge.ts';
export type { Usage, UsageHistory } from '../ledger/usage.ts';

export interface Counters {
  /** Budgets of the account, in memory. */
  budgets(account: string): readonly BudgetState[];
  /**
   * Takes all charges, in memory, before it returns: nothing comes between a decision and its reservation.
   * @throws KeydError `budget_exceeded`, `limit_reached`, `ledger_rolled_back`, `ledger_unavailable`
   */
  reserve(payer: Payer, charges: readonly Charge[]): Reservation;
}
