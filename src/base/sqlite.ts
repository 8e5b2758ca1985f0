/** Opens a state database: node:sqlite, durable on commit, with a schema version that only goes forward. */
import { closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { KeydError, asKeydError } from '../wire/problem.ts';

export interface StateDatabaseOptions {
  /** File of the database, made with mode 0600 where it does not exist. */
  readonly path: string;
  /**
   * SQL scripts; script i takes the schema from version i to i + 1. A released script never changes: what
   * comes later is appended.
   */
  readonly migrations: readonly string[];
}

/**
 * Opens (or makes) the database and migrates it forward, all in one transaction. WAL with
 * `synchronous = FULL`: a committed transaction survives a power failure.
 * @throws KeydError `state_newer` where a later version of the program has written the file
 */
export function openStateDatabase(options: StateDatabaseOptions): DatabaseSync {
  createPrivately(options.path);
  const database = new DatabaseSync(options.path, {
    enableForeignKeyConstraints: true,
    enableDoubleQuotedStringLiterals: false,
    allowExtension: false,
    timeout: 5_000,
  });
  try {
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON;',
    );
    migrate(database, options);
  } catch (thrown) {
    database.close();
    throw asKeydError(thrown);
  }
  return database;
}

/**
 * SQLite makes files with 0644 less the umask; state is nobody else's to read. A file that is there is not
 * opened: closing it again would drop the locks that an open database of this process has on it.
 */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
}

function migrate(database: DatabaseSync, { path, migrations }: StateDatabaseOptions): void {
  inTransaction(database, () => {
    const version = schemaVersion(database);
    if (version > migrations.length) {
      throw new KeydError(
        'state_newer',
        `${path} has schema version ${version}; this program knows up to ${migrations.length}. Install the newer version again or restore the older state`,
      );
    }
    for (const script of migrations.slice(version)) database.exec(script);
    // PRAGMA takes no bound parameter; the number is ours.
    database.exec(`PRAGMA user_version = ${migrations.length}`);
  });
}

/** The schema version of an open database; 0 where it is empty. */
export function schemaVersion(database: DatabaseSync): number {
  const row = database.prepare('PRAGMA user_version').get();
  const version = row?.['user_version'];
  if (typeof version !== 'number') throw new KeydError('internal', 'SQLite gave no user_version');
  return version;
}

const statements = new WeakMap<DatabaseSync, Map<string, StatementSync>>();

/**
 * The statement with this text, prepared when it is first asked for: SQLite takes longer to prepare a statement than
 * to run one. For texts that stand in the program, which are few; each call has to read its answer before the next.
 */
export function prepared(database: DatabaseSync, sql: string): StatementSync {
  let known = statements.get(database);
  if (known === undefined) statements.set(database, (known = new Map<string, StatementSync>()));
  let statement = known.get(sql);
  if (statement === undefined) known.set(sql, (statement = database.prepare(sql)));
  return statement;
}

/**
 * Runs `work` in one write transaction, taken at once (BEGIN IMMEDIATE), and durable when this returns.
 * Whatever `work` throws undoes all of it. `work` is synchronous, so nothing else of this process comes between.
 */
export function inTransaction<T>(database: DatabaseSync, work: () => T): T {
  prepared(database, 'BEGIN IMMEDIATE').run();
  try {
    const result = work();
    prepared(database, 'COMMIT').run();
    return result;
  } catch (thrown) {
    // A failed COMMIT (disk full) may have rolled back by itself already.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw thrown;
  }
}
