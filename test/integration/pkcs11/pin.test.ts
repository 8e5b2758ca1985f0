/** S17: the PIN. A refused one is never tried again: three tries lock a real token for good. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openPinFailureFile } from '../../../src/backend/pkcs11/pin-failure-file.ts';
import type { PinFailureStore } from '../../../src/backend/pkcs11/pin-guard.ts';
import type { Pkcs11BackendOptions } from '../../../src/backend/pkcs11/options.ts';
import { openPkcs11Backend, type Pkcs11Backend } from '../../../src/backend/pkcs11/pkcs11-backend.ts';
import { expectCode } from '../../contract/backend-contract.ts';
import { makeSofthsm, untilReady, untilState, USER_PIN, type TestSofthsm } from '../../support/softhsm.ts';

const run = promisify(execFile);
const WRONG_PIN = Buffer.from('111111');
const QUICK = { maxBackoffMs: 100, probeIntervalMs: 100 };

let hsm: TestSofthsm;
const opened: Pkcs11Backend[] = [];

beforeEach(async () => {
  hsm = await makeSofthsm();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((backend) => backend.close()));
  await hsm.remove();
});

async function open(more: Partial<Pkcs11BackendOptions>, entry?: URL): Promise<Pkcs11Backend> {
  const backend = await openPkcs11Backend(hsm.options({ timing: QUICK, ...more }), entry);
  opened.push(backend);
  return backend;
}

/** Whether the token has counted a wrong PIN since the last right one: CKF_USER_PIN_COUNT_LOW. */
async function hasCountedFailure(): Promise<boolean> {
  const { stdout } = await run('pkcs11-tool', ['--module', hsm.module, '--list-token-slots'], {
    env: hsm.env,
  });
  expect(stdout).toContain(hsm.tokenLabel);
  return stdout.includes('user PIN count low');
}

async function logInRightly(): Promise<void> {
  await run('pkcs11-tool', ['--module', hsm.module, '--login', '--pin', USER_PIN, '--list-objects'], {
    env: hsm.env,
  });
}

function counting(store: PinFailureStore): PinFailureStore & { readonly added: string[] } {
  const added: string[] = [];
  return {
    added,
    has: (hash) => store.has(hash),
    async add(hash) {
      added.push(hash);
      await store.add(hash);
    },
  };
}

describe('S17: a refused PIN', () => {
  it('S17: is tried once, and not again by the same backend, nor by a new one after a restart', async () => {
    const first = await open({ pin: WRONG_PIN });
    await untilState(first, 'unavailable');
    await expectCode(first.list(), 'token_login_failed');
    expect(await hasCountedFailure()).toBe(true);
    // A right login resets the token's counter, so that one more try would show.
    await logInRightly();
    expect(await hasCountedFailure()).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await hasCountedFailure()).toBe(false);
    await first.close();

    const second = await open({ pin: WRONG_PIN, processes: 3 });
    await untilState(second, 'unavailable');
    await expectCode(second.list(), 'token_login_failed');
    expect((await second.describe()).fault).toMatch(/refused this PIN before/);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await hasCountedFailure()).toBe(false);
  });

  it('S17: costs a pool one try, not one for each process', async () => {
    const pinFailures = counting(openPinFailureFile(hsm.pinFailures));
    const backend = await open({ pin: WRONG_PIN, processes: 4, pinFailures });
    await untilState(backend, 'unavailable');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(pinFailures.added).toHaveLength(1);
    expect(backend.moduleHostPids()).toHaveLength(1);
  });

  it('S17: is on disk as a keyed hash only, in a file of the owner', async () => {
    await untilState(await open({ pin: WRONG_PIN }), 'unavailable');
    const file = await readFile(hsm.pinFailures, 'utf8');
    expect(file).toMatch(/^\n[\w-]{43}\n$/);
    expect(file).not.toContain(WRONG_PIN.toString());
    expect((await stat(hsm.pinFailures)).mode & 0o777).toBe(0o600);
  });

  it('S17: does not stand against the right one', async () => {
    let pin: Uint8Array = WRONG_PIN;
    const backend = await open({ pin: () => Promise.resolve(pin) });
    await untilState(backend, 'unavailable');
    pin = Buffer.from(USER_PIN);
    await untilReady(backend);
    expect(await backend.list()).toEqual([]);
  });

  it('S17: that was right once is tried once more by a whole pool when the token comes back with another', async () => {
    const pinFailures = counting(openPinFailureFile(hsm.pinFailures));
    let pin = USER_PIN;
    const backend = await open({ pin: () => Promise.resolve(Buffer.from(pin)), processes: 3, pinFailures });
    await untilReady(backend);
    await expect.poll(() => backend.moduleHostPids().length, { timeout: 20_000 }).toBe(3);
    const key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const pids = backend.moduleHostPids();

    // Unplugged, given another PIN elsewhere, plugged in again.
    const elsewhere = join(hsm.dir, 'elsewhere');
    await mkdir(elsewhere);
    await rename(hsm.tokenDir, join(elsewhere, 'tokens'));
    await untilState(backend, 'unavailable');
    const conf = join(elsewhere, 'softhsm2.conf');
    await writeFile(conf, `directories.tokendir = ${join(elsewhere, 'tokens')}\n`);
    const change = [
      '--module',
      hsm.module,
      '--login',
      '--pin',
      USER_PIN,
      '--change-pin',
      '--new-pin',
      '555555',
    ];
    await run('pkcs11-tool', change, { env: { ...hsm.env, SOFTHSM2_CONF: conf } });
    await rename(join(elsewhere, 'tokens'), hsm.tokenDir);

    await expect.poll(async () => (await backend.describe()).fault, { timeout: 10_000 }).toMatch(/PIN/);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(pinFailures.added).toHaveLength(1);

    pin = '555555';
    await untilReady(backend);
    expect(await backend.find(key.keyId)).toEqual(key);
    expect(backend.moduleHostPids()).toEqual(pids);
  });
});

describe('S17: a PIN that is not tried at all', () => {
  const hostile = new URL('../../support/hostile-module-host.ts', import.meta.url);

  for (const lie of ['final-try', 'locked']) {
    it(`S17: because the token’s PIN is ${lie}`, async () => {
      const backend = await open({ module: `/hostile/${lie}` }, hostile);
      await untilState(backend, 'unavailable');
      const pids = backend.moduleHostPids();
      await expectCode(backend.list(), 'token_pin_locked');
      await new Promise((resolve) => setTimeout(resolve, 400));
      // This module host ends itself when it is sent a PIN.
      expect(backend.moduleHostPids()).toEqual(pids);
    });
  }

  it('because there is none, or it is no PIN', async () => {
    for (const pin of [Buffer.alloc(0), Buffer.of(0xff, 0xfe, 0x30, 0x31), Buffer.alloc(256, 0x31)]) {
      const backend = await open({ pin });
      await untilState(backend, 'unavailable');
      await expectCode(backend.list(), 'token_login_failed');
    }
    const missing = await open({ pin: () => readFile(join(hsm.dir, 'no-pin')) });
    await untilState(missing, 'unavailable');
    expect((await missing.describe()).fault).toMatch(/PIN can not be read/);
    expect(await hasCountedFailure()).toBe(false);
  });
});
