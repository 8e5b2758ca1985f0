import type { DatabaseSync } from 'node:sqlite';
import { integerColumn } from './columns.ts';

/** Taken from the database at a time: one write for so many names; a restart skips the rest. */
const BLOCK = 64;

/**
 * Numbers in the names of ephemeral sub-agents. One counter for each parent stands for all tombstones below
 * it: a number is never given twice, so no name is (S6).
 */
export class EphemeralNumbers {
  readonly #database: DatabaseSync;
  readonly #held = new Map<string, { next: number; reserved: number }>();

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** From 1. */
  next(parentId: string): number {
    const held = this.#held.get(parentId);
    if (held !== undefined && held.next < held.reserved) return held.next++;
    const row = this.#database
      .prepare(
        `INSERT INTO ephemeral_numbers (parent_id, reserved) VALUES (?, ?)
         ON CONFLICT (parent_id) DO UPDATE SET reserved = reserved + ? RETURNING reserved`,
      )
      .get(parentId, BLOCK, BLOCK);
    const reserved = (row === undefined ? BLOCK : integerColumn(row, 'reserved')) + 1;
    const first = reserved - BLOCK;
    this.#held.set(parentId, { next: first + 1, reserved });
    return first;
  }

  /** The parent is retired, and its own name with it: nothing is named below it again. */
  forget(parentId: string): void {
    this.#held.delete(parentId);
    this.#database.prepare('DELETE FROM ephemeral_numbers WHERE parent_id = ?').run(parentId);
  }
}
