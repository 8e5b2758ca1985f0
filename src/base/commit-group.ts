/**
 * Durable writes of one turn of the event loop, committed together: the disk is waited for once, however many requests
 * the turn served. Nobody learns what a write gave, or what a read saw of it, before that is durable
 * (docs/decisions/0047-the-issuer-commits-a-turn-at-once.md).
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { KeydError } from '../wire/problem.ts';
import { prepared } from './sqlite.ts';

interface OpenGroup {
  /** Settles with the commit. */
  readonly committed: Promise<undefined>;
  readonly immediate: NodeJS.Immediate;
  readonly resolve: (nothing: undefined) => void;
  readonly reject: (reason: unknown) => void;
}

/** Work is synchronous, and runs in the order in which it is given. Nothing else may write to the database. */
export class CommitGroup {
  readonly #database: DatabaseSync;
  #open: OpenGroup | undefined;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** As `prepared` of sqlite.ts. */
  statement(sql: string): StatementSync {
    return prepared(this.#database, sql);
  }

  /**
   * Runs `work` now. Whatever it throws undoes what it wrote, and only that.
   * @returns what it gives, once that is durable; rejects with what it throws, or with why nothing could be made durable
   */
  async write<T>(work: () => T): Promise<T> {
    const { committed } = (this.#open ??= this.#begin());
    try {
      return this.#undoable(work);
    } finally {
      await committed;
    }
  }

  /** Runs `work`, which writes nothing, now; what it gives or throws is told when what it may have seen is durable. */
  async read<T>(work: () => T): Promise<T> {
    const open = this.#open;
    try {
      return work();
    } finally {
      await open?.committed;
    }
  }

  /** Commits what is open, and closes the database. */
  close(): void {
    if (this.#open !== undefined) this.#commit(this.#open);
    this.#database.close();
  }

  #begin(): OpenGroup {
    this.statement('BEGIN IMMEDIATE').run();
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const group: OpenGroup = {
      committed: promise,
      immediate: setImmediate(() => {
        this.#commit(group);
      }),
      resolve,
      reject,
    };
    return group;
  }

  #undoable<T>(work: () => T): T {
    if (!this.#isInTransaction()) throw lost();
    this.statement('SAVEPOINT one').run();
    try {
      const result = work();
      this.statement('RELEASE one').run();
      return result;
    } catch (thrown) {
      // A full disk may have undone the whole group already: then nobody of it is told that all is well.
      if (this.#isInTransaction()) this.#database.exec('ROLLBACK TO one; RELEASE one');
      throw thrown;
    }
  }

  #isInTransaction(): boolean {
    return this.#database.isTransaction;
  }

  #commit(group: OpenGroup): void {
    clearImmediate(group.immediate);
    this.#open = undefined;
    try {
      if (!this.#isInTransaction()) throw lost();
      this.statement('COMMIT').run();
      group.resolve(undefined);
    } catch (thrown) {
      if (this.#isInTransaction()) this.#database.exec('ROLLBACK');
      group.reject(thrown);
    }
  }
}

function lost(): KeydError {
  return new KeydError('internal', 'the state database gave up a transaction; see whether its disk is full');
}
