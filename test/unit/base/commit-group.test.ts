import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommitGroup } from '../../../src/base/commit-group.ts';
import { openStateDatabase } from '../../../src/base/sqlite.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

let temp: TempDir;
let group: CommitGroup;
const file = (): string => join(temp.path, 'state.db');

beforeEach(async () => {
  temp = await makeTempDir();
  group = new CommitGroup(
    openStateDatabase({ path: file(), migrations: ['CREATE TABLE kept (word TEXT PRIMARY KEY) STRICT'] }),
  );
});
afterEach(async () => {
  await temp.remove();
});

const add = (word: string) => (): string => {
  group.statement('INSERT INTO kept (word) VALUES (?)').run(word);
  return word;
};
const words = (): readonly string[] =>
  group
    .statement('SELECT word FROM kept ORDER BY word')
    .all()
    .map(({ word }) => String(word));

/** What another process finds: what was committed. */
function committed(): readonly string[] {
  const database = new DatabaseSync(file(), { readOnly: true });
  try {
    return database
      .prepare('SELECT word FROM kept ORDER BY word')
      .all()
      .map(({ word }) => String(word));
  } finally {
    database.close();
  }
}

describe('writes of one turn', () => {
  it('are one commit, and nobody is told of one before it', async () => {
    const told: string[] = [];
    const writes = ['one', 'two', 'three'].map(async (word) => {
      told.push(await group.write(add(word)));
      expect(committed()).toEqual(['one', 'three', 'two']);
    });
    // Many microtasks later, still in this turn.
    for (let turn = 0; turn < 100; turn += 1) await Promise.resolve();
    expect(told).toEqual([]);
    expect(committed()).toEqual([]);
    await Promise.all(writes);
    expect(told).toEqual(['one', 'two', 'three']);
    group.close();
  });

  it('undo what one of them wrote before it failed, and no other’s', async () => {
    const fails = codeOfAsync(() =>
      group.write(() => {
        add('half')();
        throw new KeydError('conflict', 'no');
      }),
    );
    const [first, code, second] = await Promise.all([
      group.write(add('one')),
      fails,
      group.write(add('two')),
    ]);
    expect([first, code, second]).toEqual(['one', 'conflict', 'two']);
    expect(committed()).toEqual(['one', 'two']);
    group.close();
  });

  it('all fail where the transaction is lost, and those after it are another transaction', async () => {
    const one = codeOfAsync(() => group.write(add('one')));
    // What SQLite does by itself where the disk is full.
    group.statement('ROLLBACK').run();
    const two = codeOfAsync(() => group.write(add('two')));
    expect(await Promise.all([one, two])).toEqual(['internal', 'internal']);
    expect(committed()).toEqual([]);
    expect(await group.write(add('three'))).toBe('three');
    expect(committed()).toEqual(['three']);
    group.close();
  });

  it('are committed by closing', async () => {
    const written = group.write(add('one'));
    group.close();
    expect(await written).toBe('one');
    expect(committed()).toEqual(['one']);
  });
});

describe('reads', () => {
  it('see what was written at once, and tell it when it is durable', async () => {
    const written = group.write(add('one'));
    let seen: readonly string[] | undefined;
    const read = group.read(words).then((found) => {
      seen = found;
      expect(committed()).toEqual(['one']);
    });
    for (let turn = 0; turn < 100; turn += 1) await Promise.resolve();
    expect(seen).toBeUndefined();
    await Promise.all([written, read]);
    expect(seen).toEqual(['one']);
    group.close();
  });

  it('tell nothing of what was never made durable', async () => {
    const written = codeOfAsync(() => group.write(add('one')));
    const read = codeOfAsync(() => group.read(words));
    group.statement('ROLLBACK').run();
    expect(await Promise.all([written, read])).toEqual(['internal', 'internal']);
    group.close();
  });

  it('wait for nobody where nothing is being written', async () => {
    let turns = 0;
    setImmediate(() => (turns += 1));
    expect(await group.read(words)).toEqual([]);
    expect(turns).toBe(0);
    group.close();
  });
});
