/** S17: what the module host is given, and what happens when it dies, hangs or lies. */
import { randomBytes, randomUUID } from 'node:crypto';
import { chown, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { SignInput } from '../../../src/backend/backend.ts';
import { openPkcs11Backend, type Pkcs11Backend } from '../../../src/backend/pkcs11/pkcs11-backend.ts';
import { KeydError } from '../../../src/wire/problem.ts';
import { expectCode, verifyJose } from '../../contract/backend-contract.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import {
  makeSofthsm,
  processState,
  untilReady,
  untilState,
  USER_PIN,
  type TestSofthsm,
} from '../../support/softhsm.ts';

const FAST = { callTimeoutMs: 1_500, probeIntervalMs: 60_000, startGraceMs: 20_000 };

let hsm: TestSofthsm;
let backend: Pkcs11Backend | undefined;

beforeAll(async () => {
  hsm = await makeSofthsm();
});
afterEach(async () => {
  await backend?.close();
  backend = undefined;
});
afterAll(async () => {
  await hsm.remove();
});

function onlyPid(from: Pkcs11Backend): number {
  const [pid, ...others] = from.moduleHostPids();
  if (pid === undefined || others.length > 0) throw new Error('there is not exactly one module host');
  return pid;
}

async function newKey(
  from: Pkcs11Backend,
): Promise<{ keyId: string; input: SignInput; works: () => Promise<void> }> {
  const key = await from.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
  const input: SignInput = { kind: 'message', octets: randomBytes(40) };
  return {
    keyId: key.keyId,
    input,
    works: async () => {
      expect(verifyJose(key.publicJwk, input.octets, await from.sign(key.keyId, input))).toBe(true);
    },
  };
}

describe('S17: what the module host is given', () => {
  it('S17: has the PIN neither in its arguments nor in its environment', async () => {
    backend = await hsm.open();
    const pid = onlyPid(backend);
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'latin1');
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1');
    expect(commandLine).not.toContain(USER_PIN);
    expect(environment).toBe(`SOFTHSM2_CONF=${hsm.conf}\0`);
    // Nothing about the token either: it all goes over the socketpair.
    expect(commandLine).not.toContain(hsm.module);
    expect(commandLine.split('\0')).toContain('--permission');
  });

  it('S17: has one socket, the socketpair, and no file of the daemon open', async () => {
    backend = await hsm.open();
    const pid = onlyPid(backend);
    const targets = new Map<string, string>();
    for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
      targets.set(descriptor, await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => 'closed'));
    }
    for (const standard of ['0', '1', '2']) expect(targets.get(standard)).toBe('/dev/null');
    const sockets = [...targets].filter(([, target]) => target.startsWith('socket:'));
    expect(sockets.map(([descriptor]) => descriptor)).toEqual(['3']);
    const files = [...targets.values()].filter((target) => target.startsWith('/') && target !== '/dev/null');
    expect(files.filter((file) => !file.startsWith(hsm.tokenDir) && !file.startsWith('/dev/'))).toEqual([]);
  });

  it('S17: never has a child of its own', async () => {
    backend = await hsm.open();
    const pid = onlyPid(backend);
    await (await newKey(backend)).works();
    const children: string[] = [];
    for (const task of await readdir(`/proc/${pid}/task`)) {
      children.push(await readFile(`/proc/${pid}/task/${task}/children`, 'latin1').catch(() => ''));
    }
    expect(children.join('').trim()).toBe('');
  });

  it.skipIf(process.getuid?.() !== 0)(
    'S17: runs as its own user and group where one is configured',
    async () => {
      const nobody = 65_534;
      const own = await makeSofthsm();
      try {
        for (const file of [
          own.dir,
          ...(await readdir(own.dir, { recursive: true })).map((name) => join(own.dir, name)),
        ]) {
          await chown(file, nobody, nobody);
        }
        backend = await own.open({ runAs: { uid: nobody, gid: nobody } });
        const status = await readFile(`/proc/${onlyPid(backend)}/status`, 'utf8');
        expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
        expect(status).toMatch(/^Gid:\t65534\t65534\t65534\t65534$/m);
        expect(status).toMatch(/^Groups:\t\s*$/m);
        await (await newKey(backend)).works();
      } finally {
        await backend?.close();
        await own.remove();
      }
    },
  );

  it('goes on through the signals that a terminal or systemd sends to the whole group', async () => {
    backend = await hsm.open();
    const pid = onlyPid(backend);
    const key = await newKey(backend);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.kill(pid, signal);
      await key.works();
    }
    expect(onlyPid(backend)).toBe(pid);
  });

  it('ends when the daemon lets go of it', async () => {
    backend = await hsm.open();
    const pid = onlyPid(backend);
    await backend.close();
    expect(backend.moduleHostPids()).toEqual([]);
    await expect.poll(() => processState(pid)).toBeUndefined();
  });
});

describe('S17: a module host that dies or hangs', () => {
  it('S17: kill -9 in the middle of signing fails what was in flight as module_host_died, and the next call works', async () => {
    const opened = await hsm.open({ timing: FAST });
    backend = opened;
    const key = await newKey(opened);
    await key.works();
    const pid = onlyPid(backend);
    // Stopped, so that the calls are surely in flight.
    process.kill(pid, 'SIGSTOP');
    const { keyId, input } = key;
    const inFlight = Array.from({ length: 8 }, () => opened.sign(keyId, input));
    await new Promise((resolve) => setTimeout(resolve, 50));
    process.kill(pid, 'SIGKILL');
    const outcomes = await Promise.allSettled(inFlight);
    expect(outcomes.map((outcome) => outcome.status === 'rejected' && codeOf(outcome.reason))).toEqual(
      Array.from({ length: 8 }, () => 'module_host_died'),
    );
    await key.works();
    expect(onlyPid(backend)).not.toBe(pid);
  });

  it('S17: under load, kill -9 fails only calls that the module may have seen; the rest are signed by its successor', async () => {
    const opened = await hsm.open({ timing: FAST });
    backend = opened;
    const key = await newKey(opened);
    const calls = Array.from({ length: 400 }, () => opened.sign(key.keyId, key.input));
    await calls[0];
    process.kill(onlyPid(backend), 'SIGKILL');
    const outcomes = await Promise.allSettled(calls);
    const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(failed.filter(({ reason }) => codeOf(reason) !== 'module_host_died')).toEqual([]);
    expect(failed.length).toBeLessThanOrEqual(16);
    await key.works();
  });

  it('S17: a hanging module host is found out by the call that it does not answer, and ended', async () => {
    backend = await hsm.open({ timing: FAST });
    const key = await newKey(backend);
    const pid = onlyPid(backend);
    process.kill(pid, 'SIGSTOP');
    await expectCode(backend.sign(key.keyId, key.input), 'module_host_died');
    await expect.poll(() => processState(pid)).toBeUndefined();
    await key.works();
  });

  it('S17: an idle module host that hangs is found out by the probe', async () => {
    backend = await hsm.open({ timing: { ...FAST, probeIntervalMs: 100 } });
    const key = await newKey(backend);
    const pid = onlyPid(backend);
    process.kill(pid, 'SIGSTOP');
    await expect.poll(() => processState(pid), { timeout: 10_000 }).toBeUndefined();
    await untilReady(backend);
    await key.works();
  });

  it('answers backend_starting while the token is being opened, and does not wait for it to open', async () => {
    backend = await openPkcs11Backend(hsm.options({ timing: { startGraceMs: 0 } }));
    expect((await backend.describe()).state).toBe('starting');
    await expectCode(backend.list(), 'backend_starting');
    await untilReady(backend);
    expect(await backend.list()).toBeInstanceOf(Array);
  });

  it('says what is wrong when the module can not be loaded, and stays closed to calls', async () => {
    backend = await openPkcs11Backend(hsm.options({ module: join(hsm.dir, 'no-such-module.so') }));
    await untilState(backend, 'unavailable');
    expect((await backend.describe()).fault).toMatch(/can not be loaded/);
    await expectCode(backend.list(), 'backend_unavailable');
  });

  it('survives a module that crashes while it is loaded', async () => {
    const crashing = join(hsm.dir, 'crashing-host.mjs');
    await writeFile(
      crashing,
      'process.kill(process.pid, "SIGSEGV"); await new Promise(() => setTimeout(() => {}, 1e6));',
    );
    backend = await openPkcs11Backend(hsm.options(), pathToFileURL(crashing));
    await untilState(backend, 'unavailable');
    expect((await backend.describe()).fault).toMatch(/SIGSEGV/);
    await expectCode(backend.list(), 'backend_unavailable');
  });
});

describe('S17: a backend that closes, or a key that is destroyed, while signatures are under way', () => {
  it('S17: settles each of them: with a signature that verifies, or with a refusal', async () => {
    backend = await hsm.open();
    const open = backend;
    const gone = await open.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const stays = await open.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const signAll = (count: number): Promise<readonly (string | boolean)[]> =>
      Promise.all(
        Array.from({ length: count }, async (_, index) => {
          const { keyId, publicJwk } = index % 2 === 0 ? gone : stays;
          const octets = randomBytes(40);
          try {
            return verifyJose(publicJwk, octets, await open.sign(keyId, { kind: 'message', octets }));
          } catch (thrown) {
            return thrown instanceof KeydError ? thrown.code : String(thrown);
          }
        }),
      );
    expect(new Set(await signAll(20))).toEqual(new Set([true]));
    const whileDestroyed = signAll(40);
    await open.destroy(gone.keyId);
    const outcomes = await whileDestroyed;
    expect(new Set(outcomes.filter((_, index) => index % 2 === 1))).toEqual(new Set([true]));
    expect(outcomes.filter((outcome) => outcome !== true && outcome !== 'key_not_found')).toEqual([]);
    const whileClosed = signAll(40);
    await open.close();
    const allowed = [true, 'shutting_down', 'key_not_found', 'backend_unavailable', 'module_host_died'];
    expect((await whileClosed).filter((outcome) => !allowed.includes(outcome))).toEqual([]);
  });
});

describe('S17: a module host that lies', () => {
  const open = async (lie: string): Promise<Pkcs11Backend> => {
    backend = await openPkcs11Backend(
      hsm.options({ module: `/hostile/${lie}`, timing: { startGraceMs: 20_000 } }),
      new URL('../../support/hostile-module-host.ts', import.meta.url),
    );
    return backend;
  };
  const input: SignInput = { kind: 'message', octets: Buffer.from('pay 10') };

  for (const lie of ['signature-over-other-octets', 'other-key', 'long-signature', 'empty-signature']) {
    it(`S17: releases no signature that does not verify: ${lie}`, async () => {
      const liar = await open(lie);
      const keyId = randomUUID();
      await liar.generate({ keyId, purpose: 'agent', algorithm: 'ES256' });
      await expectCode(liar.sign(keyId, input), 'signature_mismatch');
      const digest: SignInput = { kind: 'digest', octets: randomBytes(32) };
      await expectCode(liar.sign(keyId, digest), 'signature_mismatch');
      // Several at once are verified on the thread.
      const outcomes = await Promise.all(
        Array.from({ length: 24 }, (_, index) =>
          codeOfAsync(() => liar.sign(keyId, index % 2 === 0 ? input : digest)),
        ),
      );
      expect(new Set(outcomes)).toEqual(new Set(['signature_mismatch']));
    });
  }

  it('S17: believes attributes that say the key can leave, and destroys it', async () => {
    const liar = await open('exportable');
    const keyId = randomUUID();
    await expectCode(liar.generate({ keyId, purpose: 'agent', algorithm: 'ES256' }), 'key_exportable');
    expect(await liar.find(keyId)).toBeUndefined();
  });

  it('S17: refuses a key that was made under another id', async () => {
    const liar = await open('another-id');
    await expectCode(
      liar.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' }),
      'internal',
    );
  });

  it('S17: does not take another public key for one that it knows', async () => {
    const liar = await open('swapped-key');
    const keyId = randomUUID();
    expect(await liar.find(keyId)).toBeDefined();
    await expectCode(liar.find(keyId), 'key_not_found');
  });

  it('S17: refuses a public key that is no point on the curve', async () => {
    const liar = await open('point-off-curve');
    await expectCode(liar.sign(randomUUID(), input), 'internal');
  });

  it('S17: ends a module host that answers garbage in good form', async () => {
    const liar = await open('garbage-find');
    await untilReady(liar);
    const pid = onlyPid(liar);
    await expectCode(liar.find(randomUUID()), 'module_host_died');
    await expect.poll(() => processState(pid)).toBeUndefined();
    const reporter = await openPkcs11Backend(
      hsm.options({ module: '/hostile/garbage-report' }),
      new URL('../../support/hostile-module-host.ts', import.meta.url),
    );
    try {
      await untilState(reporter, 'unavailable');
      expect((await reporter.describe()).fault).toMatch(/garbage/);
    } finally {
      await reporter.close();
    }
  });

  it('S17: follows no listing that does not advance', async () => {
    await expectCode((await open('none')).list(), 'internal');
  });

  it('does not call an unknown token software or hardware, but asserted, and says why', async () => {
    const liar = await open('none');
    await untilReady(liar);
    const { assurance, assuranceReason } = await liar.describe();
    expect(assurance).toBe('asserted');
    expect(assuranceReason).toMatch(/operator/);
  });
});

function codeOf(reason: unknown): string {
  return reason instanceof KeydError ? reason.code : String(reason);
}
