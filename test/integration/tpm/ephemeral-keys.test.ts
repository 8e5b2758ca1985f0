/** Keys for one task: made, certified, used and gone, with nothing of them ever written (S15). */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { HardwareKey } from '../../../src/backend/backend.ts';
import { EsysCommands } from '../../../src/backend/tpm/esys-commands.ts';
import { EsysConnection } from '../../../src/backend/tpm/esys.ts';
import type { TpmBackend } from '../../../src/backend/tpm/tpm-backend.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { transientHandles } from '../../support/tpm2-tools.ts';

const CYCLES = Number(process.env['AGENTKEYD_EPHEMERAL_CYCLES'] ?? 200);

describe('ephemeral keys', { timeout: 60_000 + CYCLES * 100 }, () => {
  let swtpm: TestSwtpm;
  let host: TpmHost;
  let backend: TpmBackend;

  beforeAll(async () => {
    swtpm = await startSwtpm();
    host = new TpmHost(swtpm.tcti);
    backend = await host.open({ sessionProtection: 'password' });
    // The AK is made and the salted session started: what a host has done long before.
    const key = await generate();
    await backend.attester.certify(key.keyId, randomBytes(32));
    await backend.destroy(key.keyId);
  });
  afterEach(() => vi.restoreAllMocks());
  afterAll(async () => {
    await backend.close();
    await swtpm.stop();
  });

  const generate = (): Promise<HardwareKey> =>
    backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256', ephemeral: true });

  const live = async (): Promise<void> => {
    const { keyId, publicJwk } = await generate();
    const { attest } = await backend.attester.certify(keyId, randomBytes(32));
    expect(attest.length).toBeGreaterThan(32);
    const octets = randomBytes(32);
    const signature = await backend.sign(keyId, { kind: 'message', octets });
    expect(verifySignature(publicJwk, octets, signature)).toBe(true);
    await backend.destroy(keyId);
  };

  it('S15: the wrapped form of an ephemeral key is never stored, and nothing signs after its end', async () => {
    const { keyId } = await generate();
    expect(host.store.records.size).toBe(0);
    expect((await backend.list()).map((key) => key.keyId)).toEqual([keyId]);
    expect(await codeOfAsync(() => backend.exportTss2(keyId))).toBe('key_not_found');
    expect(await backend.destroy(keyId)).toMatchObject({
      statement: expect.stringMatching(/never written/) as string,
    });
    expect(await backend.find(keyId)).toBeUndefined();
    expect(await codeOfAsync(() => backend.sign(keyId, { kind: 'message', octets: randomBytes(32) }))).toBe(
      'key_not_found',
    );
  });

  it('a life is four TPM commands: CreateLoaded, Certify, Sign, FlushContext', async () => {
    const commands: string[] = [];
    const ran = vi.spyOn(EsysConnection.prototype as unknown as { run: EsysCommands['sign'] }, 'run');
    const { keyId } = await generate();
    await backend.attester.certify(keyId, randomBytes(32));
    await backend.sign(keyId, { kind: 'message', octets: randomBytes(32) });
    await backend.destroy(keyId);
    for (const [command] of ran.mock.calls as unknown as [string][]) commands.push(command);
    const local = ['setAuth', 'getName'];
    expect(commands.filter((command) => !local.includes(command))).toEqual([
      'createLoaded',
      'certify',
      'sign',
      'flushContext',
    ]);
  });

  it('is brought back from memory when others needed its slot, and after a TPM reset', async () => {
    const key = await generate();
    const kept = await Promise.all([1, 2, 3, 4].map(() => generate()));
    const octets = randomBytes(32);
    for (const { keyId, publicJwk } of [key, ...kept, key]) {
      const signature = await backend.sign(keyId, { kind: 'message', octets });
      expect(verifySignature(publicJwk, octets, signature)).toBe(true);
    }
    await swtpm.restart();
    const signature = await backend.sign(key.keyId, { kind: 'message', octets });
    expect(verifySignature(key.publicJwk, octets, signature)).toBe(true);
    await Promise.all([key, ...kept].map(({ keyId }) => backend.destroy(keyId)));
  });

  it(`${CYCLES} in a row leave no handle, no record and no memory behind`, async () => {
    for (let made = 0; made < 50; made += 1) await live();
    const before = await transientHandles(swtpm);
    const heapBefore = heapUsed();
    for (let made = 0; made < CYCLES; made += 1) await live();
    expect((await transientHandles(swtpm)).length).toBeLessThanOrEqual(before.length);
    expect(host.store.records.size).toBe(0);
    expect(await backend.list()).toEqual([]);
    // Far below what a key takes (a blob, a context, handles): 10,000 keys of 1 KiB would be 10 MiB.
    expect(heapUsed() - heapBefore).toBeLessThan(4 * 1024 * 1024);
  });
});

function heapUsed(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}
