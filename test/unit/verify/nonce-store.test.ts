import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryNonceStore, type NonceStore } from '../../../src/verify/nonce-store.ts';
import { SqliteNonceStore } from '../../../src/verify/sqlite-nonce-store.ts';
import { codeOf, codeOfAsync } from '../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

let directory: TempDir;
let nowSeconds: number;
const clock = (): number => nowSeconds * 1000;
const closing: SqliteNonceStore[] = [];

beforeEach(async () => {
  directory = await makeTempDir();
  nowSeconds = 1_000_000;
});
afterEach(async () => {
  for (const store of closing.splice(0)) store.close();
  await directory.remove();
});

function sqlite(maxEntries?: number): SqliteNonceStore {
  const path = join(directory.path, 'nonces.db');
  const store = new SqliteNonceStore({ path, clock, ...(maxEntries === undefined ? {} : { maxEntries }) });
  closing.push(store);
  return store;
}

describe.each<[string, (maxEntries: number) => NonceStore]>([
  ['memory', (maxEntries) => new MemoryNonceStore({ maxEntries, clock })],
  ['sqlite', sqlite],
])('%s nonce store', (_name, make) => {
  it('S4: gives each (thumbprint, nonce) once', async () => {
    const store = make(100);
    expect(await store.claim('t1', 'n1', nowSeconds + 60)).toBe(true);
    expect(await store.claim('t1', 'n1', nowSeconds + 60)).toBe(false);
    expect(await store.claim('t2', 'n1', nowSeconds + 60)).toBe(true);
    expect(await store.claim('t1', 'n2', nowSeconds + 60)).toBe(true);
    expect(await store.claim('t1', 'N1', nowSeconds + 60)).toBe(true);
  });

  it('keeps a nonce to the end of its last second, then lets it go', async () => {
    const store = make(100);
    await store.claim('t', 'n', nowSeconds + 60);
    nowSeconds += 60;
    expect(await store.claim('t', 'n', nowSeconds + 60)).toBe(false);
    nowSeconds += 1;
    expect(await store.claim('t', 'n', nowSeconds + 60)).toBe(true);
  });

  it('S4: full, it refuses and forgets nothing; later it has room again', async () => {
    const store = make(2);
    await store.claim('t', 'n1', nowSeconds + 60);
    await store.claim('t', 'n2', nowSeconds + 60);
    expect(await codeOfAsync(() => store.claim('t', 'n3', nowSeconds + 60))).toBe('replay_check_unavailable');
    nowSeconds += 61;
    expect(await store.claim('t', 'n3', nowSeconds + 60)).toBe(true);
  });
});

describe('sqlite nonce store', () => {
  it('S4: is shared by two stores over one file, and survives both', async () => {
    const [one, two] = [sqlite(), sqlite()];
    expect(await one.claim('t', 'n', nowSeconds + 60)).toBe(true);
    expect(await two.claim('t', 'n', nowSeconds + 60)).toBe(false);
    expect(await sqlite().claim('t', 'n', nowSeconds + 60)).toBe(false);
  });

  it('S4: fails closed once it is closed, and over a file that is no database', async () => {
    const store = new SqliteNonceStore({ path: join(directory.path, 'other.db'), clock });
    store.close();
    expect(await codeOfAsync(() => store.claim('t', 'n', nowSeconds + 60))).toBe('replay_check_unavailable');
    const path = join(directory.path, 'text.db');
    await writeFile(path, 'this is no database, but it is long enough to be taken for one'.repeat(100));
    await chmod(path, 0o600);
    expect(codeOf(() => new SqliteNonceStore({ path, clock }))).toBe('configuration_invalid');
  });

  it('S4: fails closed while another process holds the file', async () => {
    const path = join(directory.path, 'nonces.db');
    const store = new SqliteNonceStore({ path, clock, busyTimeoutMs: 20 });
    closing.push(store);
    const { DatabaseSync } = await import('node:sqlite');
    const other = new DatabaseSync(path);
    other.exec('BEGIN EXCLUSIVE');
    expect(await codeOfAsync(() => store.claim('t', 'n', nowSeconds + 60))).toBe('replay_check_unavailable');
    other.exec('ROLLBACK');
    other.close();
    expect(await store.claim('t', 'n', nowSeconds + 60)).toBe(true);
  });
});
