/** Typed reading of rows; a row that is not as the schema says is damage, never a guess. */
import { KeydError } from '../../wire/problem.ts';

/** A row as node:sqlite gives it. */
export type Row = Readonly<Record<string, unknown>>;

export function textOf(row: Row, column: string): string {
  const value = row[column];
  return typeof value === 'string' ? value : damaged(column);
}

export function optionalTextOf(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : textOf(row, column);
}

export function integerOf(row: Row, column: string): number {
  const value = row[column];
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : damaged(column);
}

export function octetsOf(row: Row, column: string): Uint8Array {
  const value = row[column];
  return value instanceof Uint8Array ? value : damaged(column);
}

export function jsonOf(row: Row, column: string): unknown {
  try {
    return JSON.parse(textOf(row, column)) as unknown;
  } catch {
    return damaged(column);
  }
}

function damaged(column: string): never {
  throw new KeydError('internal', `the state database holds no usable ${column}; restore a backup`);
}
