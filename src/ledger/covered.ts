/** Whether a purse has what a charge takes. */
import { KeydError } from '../wire/problem.ts';
import type { Book } from './book.ts';
import type { Charge } from './charge.ts';

/**
 * @param newLimit where the charge's limit is not that of its purse, or it has none yet
 * @param taken what the charges so far take of the purse, this one with them
 * @throws KeydError `budget_exceeded`, `limit_reached`
 */
export function requireCovered(
  book: Book,
  charge: Charge,
  key: string,
  newLimit: bigint | undefined,
  taken: bigint,
): void {
  const purse = book.purses.get(key);
  const isClosed = charge.kind === 'budget' && book.closing.has(key.slice(0, key.lastIndexOf('|')));
  const free = newLimit === undefined ? book.free(key) : newLimit - (purse?.spent ?? 0n);
  if (!isClosed && taken <= free) return;
  throw charge.kind === 'limit'
    ? new KeydError(
        'limit_reached',
        `the limit of the policy ${charge.policy} leaves ${free} of ${charge.unit}, and this takes ${charge.amount}`,
      )
    : new KeydError(
        'budget_exceeded',
        `the budget has ${isClosed ? 0n : free} of ${charge.unit} left, and this costs ${charge.amount}`,
      );
}
