import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger, redact } from '../../../src/base/logger.ts';
import { inTransaction, openStateDatabase, prepared, schemaVersion } from '../../../src/base/sqlite.ts';
import { parseTomlConfig, readTomlConfig } from '../../../src/base/toml-config.ts';
import { integer, object, optional, text } from '../../../src/wire/check.ts';
import { KeydError } from '../../../src/wire/problem.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agentkeyd-base-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const caught = (work: () => unknown): KeydError => {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof KeydError) return thrown;
    throw thrown;
  }
  throw new Error('nothing was thrown');
};

describe('openStateDatabase', () => {
  const first = 'CREATE TABLE thing (id INTEGER PRIMARY KEY, label TEXT NOT NULL) STRICT;';
  const second = "ALTER TABLE thing ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey';";

  it('makes a durable private file and migrates it forward, keeping the rows', () => {
    const path = join(folder, 'state.db');
    let database = openStateDatabase({ path, migrations: [first] });
    expect(database.prepare('PRAGMA synchronous').get()).toEqual({ synchronous: 2 });
    expect(database.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    database.prepare('INSERT INTO thing (label) VALUES (?)').run('kept');
    database.close();
    database = openStateDatabase({ path, migrations: [first, second] });
    expect(schemaVersion(database)).toBe(2);
    expect(database.prepare('SELECT label, colour FROM thing').all()).toEqual([
      { label: 'kept', colour: 'grey' },
    ]);
    database.close();
  });

  it('refuses a newer state and leaves it as it is', () => {
    const path = join(folder, 'state.db');
    openStateDatabase({ path, migrations: [first, second] }).close();
    expect(caught(() => openStateDatabase({ path, migrations: [first] })).code).toBe('state_newer');
    const again = openStateDatabase({ path, migrations: [first, second] });
    expect(schemaVersion(again)).toBe(2);
    again.close();
  });

  it('a migration that fails changes nothing', () => {
    const path = join(folder, 'state.db');
    expect(() => openStateDatabase({ path, migrations: [first, 'CREATE NONSENSE'] })).toThrow();
    const database = openStateDatabase({ path, migrations: [] });
    expect(schemaVersion(database)).toBe(0);
    expect(database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()).toEqual({ n: 0 });
    database.close();
  });

  it('a transaction that throws leaves no row', () => {
    const database = openStateDatabase({ path: join(folder, 'state.db'), migrations: [first] });
    expect(() =>
      inTransaction(database, () => {
        database.prepare('INSERT INTO thing (label) VALUES (?)').run('lost');
        throw new KeydError('conflict', 'stop');
      }),
    ).toThrow('stop');
    expect(database.prepare('SELECT count(*) AS n FROM thing').get()).toEqual({ n: 0 });
    database.close();
  });
});

describe('readTomlConfig', () => {
  const shape = object({
    name: text({ maxLength: 8 }),
    limits: object({ requests: integer({ min: 1, max: 10 }) }),
    note: optional(text({ maxLength: 8 })),
  });

  it('gives the typed configuration', () => {
    const path = join(folder, 'a.toml');
    writeFileSync(path, 'name = "x"\n[limits]\nrequests = 3\n');
    expect(readTomlConfig(path, shape)).toEqual({ name: 'x', limits: { requests: 3 } });
  });

  it('reports every fault at once, each with the file name', () => {
    const error = caught(() =>
      parseTomlConfig('name = 4\ncolour = "red"\n[limits]\nrequests = 11\n', 'issuer.toml', shape),
    );
    expect(error.code).toBe('configuration_invalid');
    expect(error.faults).toEqual([
      'issuer.toml: colour is not a known member',
      'issuer.toml: name must be a string',
      'issuer.toml: limits.requests must be an integer from 1 to 10',
    ]);
  });

  it.each([
    ['a syntax fault with its place', 'name = \n', /issuer\.toml: line 1, column \d+/],
    ['a key given twice', 'name = "a"\nname = "b"\n', /line 2/],
  ])('names %s', (_what, toml, expected) => {
    expect(caught(() => parseTomlConfig(toml, 'issuer.toml', shape)).message).toMatch(expected);
  });

  it('names a file that is missing or not UTF-8', () => {
    const path = join(folder, 'bad.toml');
    expect(caught(() => readTomlConfig(path, shape)).code).toBe('configuration_invalid');
    writeFileSync(path, Buffer.from([0x6e, 0xff, 0xfe]));
    expect(caught(() => readTomlConfig(path, shape)).message).toContain('bad.toml');
  });
});

describe('prepared', () => {
  it('prepares a text once for each database, and every call starts afresh', () => {
    const open = (name: string) =>
      openStateDatabase({
        path: join(folder, name),
        migrations: ['CREATE TABLE thing (id INTEGER PRIMARY KEY) STRICT;'],
      });
    const [one, other] = [open('one.db'), open('other.db')];
    const insert = 'INSERT INTO thing (id) VALUES (?)';
    expect(prepared(one, insert)).toBe(prepared(one, insert));
    prepared(one, insert).run(7);
    expect(() => prepared(one, insert).run(7)).toThrow(/UNIQUE/);
    prepared(one, insert).run(8);
    const [row, rest] = ['SELECT id FROM thing WHERE id = ?', 'SELECT id FROM thing ORDER BY id'];
    expect([7, 8, 9].map((id) => prepared(one, row).get(id)?.['id'])).toEqual([7, 8, undefined]);
    expect(prepared(one, rest).all()).toHaveLength(2);
    expect(prepared(other, rest).all()).toHaveLength(0);
    one.close();
    other.close();
  });
});

describe('createLogger', () => {
  const lines: string[] = [];
  const logger = createLogger({
    name: 'test',
    level: 'info',
    destination: { write: (line) => lines.push(line) },
  });

  it('writes one JSON object a line and never a secret', () => {
    lines.length = 0;
    logger.child({ pin: '123456' }).info({ user_pin: '9999', nested: { secret: 's3', agent: 'a' } }, 'hello');
    expect(lines).toHaveLength(1);
    const line = lines.join('');
    expect(line).not.toMatch(/123456|9999|s3/);
    expect(JSON.parse(line)).toMatchObject({ level: 'info', msg: 'hello', nested: { agent: 'a' } });
  });

  it('unfolds errors with their causes and shortens octets', () => {
    const error = new KeydError('internal', 'outer', { cause: new KeydError('conflict', 'inner') });
    expect(redact({ error, octets: new Uint8Array(9) })).toEqual({
      error: {
        type: 'KeydError',
        message: 'outer',
        code: 'internal',
        cause: { type: 'KeydError', message: 'inner', code: 'conflict' },
      },
      octets: '[9 octets]',
    });
  });
});
