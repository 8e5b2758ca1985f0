/** Typed reading of SQLite rows: a column that is not what the schema says is a damaged file, not a guess. */
import type { SQLOutputValue } from 'node:sqlite';
import { KeydError } from '../../wire/problem.ts';

export type Row = Readonly<Record<string, SQLOutputValue>>;

/** @throws KeydError `internal` */
export function textColumn(row: Row, name: string): string {
  const value = row[name];
  return typeof value === 'string' ? value : damaged(name);
}

/** @throws KeydError `internal` */
export function integerColumn(row: Row, name: string): number {
  const value = row[name];
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : damaged(name);
}

/** @throws KeydError `internal` */
export function octetsColumn(row: Row, name: string): Uint8Array {
  const value = row[name];
  return value instanceof Uint8Array ? value : damaged(name);
}

/** The JSON of a column that only this program writes. @throws KeydError `internal` */
export function jsonColumn(row: Row, name: string): unknown {
  try {
    return JSON.parse(textColumn(row, name)) as unknown;
  } catch (cause) {
    return damaged(name, cause);
  }
}

function damaged(column: string, cause?: unknown): never {
  throw new KeydError('internal', `state.db is damaged: column ${column} is not what was written there`, {
    cause,
  });
}
