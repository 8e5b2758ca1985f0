import { randomBytes, randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EsysConnection, PERMANENT } from '../../../src/backend/tpm/esys.ts';
import type { TpmBackend } from '../../../src/backend/tpm/tpm-backend.ts';
import { akTemplate, ekTemplate, srkTemplate } from '../../../src/wire/tpm/templates.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { startSwtpm, type TestSwtpm, type TestSwtpmOptions } from '../../support/swtpm.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { flushTpm, transientHandles, tpm2Tool, tpm2Tools } from '../../support/tpm2-tools.ts';

interface Scene {
  readonly swtpm: TestSwtpm;
  readonly host: TpmHost;
  readonly backend: TpmBackend;
  readonly keyId: string;
  /** The code that one signature fails with; undefined where it succeeds. */
  readonly sign: (backend?: TpmBackend) => Promise<string | undefined>;
}

/** A host with one key; what the scene opened is closed after it. */
async function onHost(play: (scene: Scene) => Promise<void>, options: TestSwtpmOptions = {}): Promise<void> {
  const swtpm = await startSwtpm(options);
  const host = new TpmHost(swtpm.tcti);
  const backend = await host.open();
  try {
    const { keyId } = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    const sign = (by: TpmBackend = backend): Promise<string | undefined> =>
      codeOfAsync(() => by.sign(keyId, { kind: 'message', octets: randomBytes(32) }));
    await play({ swtpm, host, backend, keyId, sign });
  } finally {
    await backend.close();
    await swtpm.stop();
  }
}

describe('conditions of a TPM', { timeout: 120_000 }, () => {
  it('reset: contexts and sessions are gone, the next signature succeeds all the same', () =>
    onHost(async ({ swtpm, backend, sign }) => {
      await backend.attester.certify((await backend.list())[0]?.keyId ?? '', randomBytes(32));
      const before = await backend.attester.identity();
      for (let round = 0; round < 3; round += 1) {
        await swtpm.restart();
        expect(await sign()).toBeUndefined();
      }
      const after = await backend.attester.identity();
      expect(after.resetCount).toBeGreaterThan(before.resetCount);
      expect(after.srkName).toBe(before.srkName);
      expect(await backend.attester.attestationKey()).toHaveLength(88);
    }));

  it('reset in the midst of many requests: each one is signed or fails with a tpm_ code', () =>
    onHost(async ({ swtpm, sign }) => {
      const outcomes = Array.from({ length: 200 }, () => sign());
      await swtpm.restart();
      const codes = new Set(await Promise.all(outcomes));
      for (const code of codes) expect(code ?? 'tpm_').toMatch(/^tpm_/);
      expect(await sign()).toBeUndefined();
    }));

  it('absent at the start: opening succeeds, the state says why, and the TPM is used when it comes', async () => {
    const swtpm = await startSwtpm();
    await swtpm.kill9();
    const backend = await new TpmHost(swtpm.tcti).open();
    try {
      const { state, fault, assurance } = await backend.describe();
      expect(state).toBe('unavailable');
      expect(fault).toMatch(/TPM can not be reached/);
      expect(assurance).toBe('software');
      const request = { keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' } as const;
      expect(await codeOfAsync(() => backend.generate(request))).toBe('tpm_unavailable');
      await swtpm.restart();
      expect((await backend.generate(request)).keyId).toBe(request.keyId);
      expect((await backend.describe()).state).toBe('ready');
    } finally {
      await backend.close();
      await swtpm.stop();
    }
  });

  it('gone and back: calls fail with tpm_unavailable, no record is lost, and it goes on by itself', () =>
    onHost(async ({ swtpm, backend, keyId, host, sign }) => {
      await swtpm.kill9();
      for (let round = 0; round < 3; round += 1) expect(await sign()).toBe('tpm_unavailable');
      expect((await backend.describe()).state).toBe('unavailable');
      expect((await backend.find(keyId))?.keyId).toBe(keyId);
      expect(host.store.records.has(keyId)).toBe(true);
      await swtpm.restart();
      expect(await sign()).toBeUndefined();
    }));

  it('cleared: named so, after a restart too, until the operator accepts the TPM', () =>
    onHost(async ({ swtpm, backend, host, sign }) => {
      await tpm2Tools(swtpm, [['tpm2_clear', '-c', 'p']]);
      expect(await sign()).toBe('tpm_cleared');
      expect(await sign()).toBe('tpm_cleared');
      const { state, fault } = await backend.describe();
      expect([state, /accept/.test(fault ?? '')]).toEqual(['unavailable', true]);
      const restarted = await host.open();
      try {
        expect(await sign(restarted)).toBe('tpm_cleared');
      } finally {
        await restarted.close();
      }
      await backend.adoptTpm();
      // The old key's blob was wrapped by the old SRK; a new key works.
      expect(await sign()).toBe('key_not_found');
      const made = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
      expect(await backend.sign(made.keyId, { kind: 'message', octets: Buffer.of(1) })).toHaveLength(64);
      expect((await backend.describe()).state).toBe('ready');
    }));

  it('replaced: another TPM is not taken for a cleared one', () =>
    onHost(async ({ swtpm, sign }) => {
      await swtpm.kill9();
      // A blank state: other seeds, hence another EK and another SRK.
      await rm(join(swtpm.dir, 'state'), { recursive: true });
      await swtpm.restart();
      expect(await sign()).toBe('tpm_replaced');
    }));

  it('SRK evicted: it is derived, recognised by its Name and put back', () =>
    onHost(async ({ swtpm, sign }) => {
      await tpm2Tools(swtpm, [['tpm2_evictcontrol', '-Q', '-C', 'o', '-c', '0x81000001']]);
      await swtpm.restart();
      expect(await sign()).toBeUndefined();
      expect((await tpm2Tool(swtpm, ['tpm2_readpublic', '-c', '0x81000001'])).ok).toBe(true);
    }));

  it('SRK handle taken by another key: refused, and not called cleared', () =>
    onHost(async ({ swtpm, sign }) => {
      await tpm2Tools(swtpm, [
        ['tpm2_evictcontrol', '-Q', '-C', 'o', '-c', '0x81000001'],
        ['tpm2_createprimary', '-Q', '-C', 'o', '-G', 'ecc', '-c', 'other.ctx'],
        ['tpm2_evictcontrol', '-Q', '-C', 'o', '-c', 'other.ctx', '0x81000001'],
      ]);
      await swtpm.restart();
      expect(await sign()).toBe('tpm_unavailable');
      await tpm2Tools(swtpm, [['tpm2_evictcontrol', '-Q', '-C', 'o', '-c', '0x81000001']]);
      expect(await sign()).toBeUndefined();
    }));

  it('an SRK that was there before us is taken and remembered', async () => {
    const swtpm = await startSwtpm();
    const host = new TpmHost(swtpm.tcti);
    // tpm2-tools' default has an empty unique: another key than the TCG's.
    await tpm2Tools(swtpm, [
      ['tpm2_createprimary', '-Q', '-C', 'o', '-G', 'rsa', '-c', 'srk.ctx'],
      ['tpm2_evictcontrol', '-Q', '-C', 'o', '-c', 'srk.ctx', '0x81000001'],
    ]);
    const backend = await host.open();
    try {
      const { keyId } = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
      expect(await backend.sign(keyId, { kind: 'message', octets: Buffer.of(1) })).toHaveLength(64);
      const { text } = await tpm2Tool(swtpm, ['tpm2_readpublic', '-c', '0x81000001']);
      expect(text).toContain(host.memory.tpm?.srkName);
    } finally {
      await backend.close();
      await swtpm.stop();
    }
  });

  it('lockout: an EK is not even tried, agent keys go on, and the lockout counter does not rise', () =>
    onHost(
      async ({ swtpm, backend, sign }) => {
        const dir = { cwd: swtpm.dir };
        await tpm2Tools(
          swtpm,
          [
            ['tpm2_createprimary', '-Q', '-C', 'o', '-G', 'ecc', '-c', 'p.ctx'],
            [
              'tpm2_create',
              '-Q',
              '-C',
              'p.ctx',
              '-G',
              'ecc',
              '-p',
              'right',
              '-u',
              'da.pub',
              '-r',
              'da.priv',
              '-a',
              'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign',
            ],
            ['tpm2_load', '-Q', '-C', 'p.ctx', '-u', 'da.pub', '-r', 'da.priv', '-c', 'da.ctx'],
          ],
          dir,
        );
        const attempt = async (): Promise<string> =>
          (await tpm2Tool(swtpm, ['tpm2_sign', '-c', 'da.ctx', '-p', 'wrong', '-o', 'x', 'da.pub'], dir))
            .text;
        for (let tries = 0; tries < 8 && !/0x921/.test(await attempt()); tries += 1) await flushTpm(swtpm);
        const counter = async (): Promise<string | undefined> =>
          /LOCKOUT_COUNTER: (\S+)/.exec(
            (await tpm2Tool(swtpm, ['tpm2_getcap', 'properties-variable'])).text,
          )?.[1];
        const before = await counter();
        expect(before).toBeDefined();

        const activate = (): Promise<string | undefined> =>
          codeOfAsync(() =>
            backend.attester.activateCredential('H-3', new Uint8Array(80), new Uint8Array(100)),
          );
        for (let round = 0; round < 5; round += 1) expect(await activate()).toBe('tpm_lockout');
        expect(await counter()).toBe(before);
        expect(await sign()).toBeUndefined();
        await tpm2Tools(swtpm, [['tpm2_dictionarylockout', '--clear-lockout']]);
        expect(await activate()).toBe('key_not_found');
      },
      { withEkCertificates: true },
    ));

  it('slots left full by a killed daemon are reclaimed', () =>
    onHost(async ({ swtpm, host, sign, backend }) => {
      await backend.close();
      // Never closed or flushed, as by kill -9: three objects, three sessions.
      const killed = await EsysConnection.open(swtpm.tcti);
      const left: unknown[] = [];
      for (let count = 0; count < 3; count += 1) {
        left.push(await killed.createPrimary({ parent: PERMANENT.owner, inPublic: srkTemplate() }));
        left.push(await killed.startAuthSession({ type: 'hmac', symmetric: 'none', authHash: 0x000b }));
      }
      expect(
        await codeOfAsync(() =>
          killed.createPrimary({ parent: PERMANENT.owner, inPublic: srkTemplate() }).catch(() => undefined),
        ),
      ).toBeUndefined();
      const restarted = await host.open();
      try {
        expect((await restarted.describe()).state).toBe('ready');
        expect(await sign(restarted)).toBeUndefined();
        await restarted.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
        expect(left).toHaveLength(6);
      } finally {
        await restarted.close();
        await killed.close();
      }
    }));

  it('another program that flushes our objects and sessions costs nothing but a retry', () =>
    onHost(async ({ swtpm, backend, keyId, sign }) => {
      for (let round = 0; round < 5; round += 1) {
        expect(await sign()).toBeUndefined();
        await backend.attester.certify(keyId, randomBytes(32));
        await flushTpm(swtpm);
        expect(await sign()).toBeUndefined();
        await flushTpm(swtpm);
        await backend.attester.quote([{ bank: 'sha256', pcrs: [0] }], randomBytes(32));
      }
    }));

  it('when idle it leaves all object slots to others', () =>
    onHost(async ({ swtpm, sign }) => {
      expect(await sign()).toBeUndefined();
      await expect.poll(() => transientHandles(swtpm), { timeout: 10_000 }).toEqual([]);
    }));

  it('templates make the same primaries each time', () =>
    onHost(async ({ backend, swtpm }) => {
      await backend.close();
      const esys = await EsysConnection.open(swtpm.tcti);
      try {
        for (const [parent, inPublic] of [
          [PERMANENT.owner, srkTemplate()],
          [PERMANENT.endorsement, akTemplate(new Uint8Array(32).fill(1))],
          [PERMANENT.endorsement, ekTemplate('L-2')],
          [PERMANENT.endorsement, ekTemplate('H-2')],
          [PERMANENT.endorsement, ekTemplate('H-3')],
        ] as const) {
          const [a, b] = [
            await esys.createPrimary({ parent, inPublic }),
            await esys.createPrimary({ parent, inPublic }),
          ];
          expect(a.outPublic.equals(b.outPublic)).toBe(true);
          await esys.flushContext(a.handle);
          await esys.flushContext(b.handle);
        }
      } finally {
        await esys.close();
      }
    }));
});
