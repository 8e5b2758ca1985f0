import { randomBytes } from 'node:crypto';
import { appendFile, chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPinFailureFile } from '../../../../src/backend/pkcs11/pin-failure-file.ts';
import { PinGuard, type PinFailureStore, type PinTarget } from '../../../../src/backend/pkcs11/pin-guard.ts';
import { codeOf, codeOfAsync } from '../../../support/code-of.ts';
import { makeTempDir, type TempDir } from '../../../support/temp-dir.ts';

const target: PinTarget = { manufacturer: 'm', serial: 's', label: 'l', flags: 0x40d };
const key = Buffer.alloc(32, 1);
const pin = Buffer.from('1234');
const COUNT_LOW = 0x10000;

function inMemory(): PinFailureStore & { readonly hashes: Set<string> } {
  const hashes = new Set<string>();
  return {
    hashes,
    has: (hash) => Promise.resolve(hashes.has(hash)),
    add: (hash) => {
      hashes.add(hash);
      return Promise.resolve();
    },
  };
}

describe('S17: the PIN guard', () => {
  it('S17: permits a PIN until it was refused, and then no more', async () => {
    const store = inMemory();
    const guard = new PinGuard(store, key);
    const hash = guard.hash(target, pin);
    await guard.permit(target, hash);
    await guard.refused(hash);
    expect(await codeOfAsync(() => guard.permit(target, hash))).toBe('token_login_failed');
    // Another guard over the same store: a sibling, or the next daemon.
    const next = new PinGuard(store, key);
    expect(await codeOfAsync(() => next.permit(target, next.hash(target, pin)))).toBe('token_login_failed');
    await next.permit(target, next.hash(target, Buffer.from('12345')));
  });

  it('S17: permits nothing on the final try or when locked', async () => {
    const guard = new PinGuard(inMemory(), key);
    for (const flag of [0x20000, 0x40000]) {
      const flagged = { ...target, flags: target.flags | flag };
      expect(await codeOfAsync(() => guard.permit(flagged, guard.hash(flagged, pin)))).toBe(
        'token_pin_locked',
      );
    }
    // A failure was counted, but by whom is not known: it is not the final try.
    const low = { ...target, flags: target.flags | COUNT_LOW };
    await guard.permit(low, guard.hash(low, pin));
  });

  it('S17: counts a login of unknown outcome as refused once the token has counted a failure', async () => {
    const store = inMemory();
    const guard = new PinGuard(store, key);
    const hash = guard.hash(target, pin);
    guard.outcomeUnknown(hash);
    await guard.permit(target, hash);
    const low = { ...target, flags: target.flags | COUNT_LOW };
    expect(await codeOfAsync(() => guard.permit(low, hash))).toBe('token_login_failed');
    expect([...store.hashes]).toEqual([hash]);
    const other = guard.hash(target, Buffer.from('9876'));
    guard.outcomeUnknown(other);
    guard.accepted(other);
    await guard.permit(low, other);
  });

  it('S17: hashes with the key, the token and the PIN, each apart', () => {
    const guard = new PinGuard(inMemory(), key);
    const hashes = [
      guard.hash(target, pin),
      new PinGuard(inMemory(), Buffer.alloc(32, 2)).hash(target, pin),
      guard.hash({ ...target, serial: 't' }, pin),
      guard.hash({ ...target, label: 'l1' }, Buffer.from('234')),
      guard.hash({ ...target, serial: 'sl', label: '' }, pin),
      guard.hash({ ...target, manufacturer: '' }, pin),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
    for (const hash of hashes) expect(hash).toMatch(/^[\w-]{43}$/);
    // The flags change with every try and are no part of what the PIN is for.
    expect(guard.hash({ ...target, flags: 0 }, pin)).toBe(hashes[0]);
  });

  it('S17: wants a real key', () => {
    expect(codeOf(() => new PinGuard(inMemory(), randomBytes(31)))).toBe('configuration_invalid');
  });

  it('S17: lets one login run at a time, also after one that failed', async () => {
    const guard = new PinGuard(inMemory(), key);
    const order: string[] = [];
    const login = (name: string, fails: boolean): Promise<void> =>
      guard.oneAtATime(async () => {
        order.push(`${name} begins`);
        await new Promise((resolve) => setTimeout(resolve, 5));
        order.push(`${name} ends`);
        if (fails) throw new Error('refused');
      });
    await Promise.allSettled([login('a', true), login('b', false), login('c', true), login('d', false)]);
    expect(order).toEqual(['a', 'b', 'c', 'd'].flatMap((name) => [`${name} begins`, `${name} ends`]));
  });
});

describe('S17: refused PINs on disk', () => {
  let temp: TempDir;
  beforeAll(async () => {
    temp = await makeTempDir();
  });
  afterAll(() => temp.remove());

  it('S17: are known to every store over the file, and are written once', async () => {
    const path = join(temp.path, 'refused');
    const store = openPinFailureFile(path);
    expect(await store.has('aaa')).toBe(false);
    await store.add('aaa');
    await store.add('aaa');
    await store.add('bbb');
    expect(await openPinFailureFile(path).has('aaa')).toBe(true);
    expect(await openPinFailureFile(path).has('bbb')).toBe(true);
    expect(await openPinFailureFile(path).has('aa')).toBe(false);
    expect((await readFile(path, 'utf8')).match(/aaa/g)).toHaveLength(1);
  });

  it('S17: survive a torn line before them, at every length', async () => {
    for (let length = 0; length <= 5; length++) {
      const path = join(temp.path, `torn-${length}`);
      await writeFile(path, 'one\n');
      await appendFile(path, 'torn\n'.slice(0, length));
      const store = openPinFailureFile(path);
      await store.add('two');
      expect(await store.has('one')).toBe(true);
      expect(await store.has('two')).toBe(true);
    }
  });

  it('S17: fail closed where the file can not be read', async () => {
    const path = join(temp.path, 'a-directory');
    await mkdir(path);
    await chmod(path, 0o700);
    await expect(openPinFailureFile(path).has('aaa')).rejects.toThrow(/EISDIR/);
    await expect(openPinFailureFile(path).add('aaa')).rejects.toThrow(/EISDIR/);
  });
});
