/** The module host's memory: pkcs11js leaks templates in its asynchronous calls, and must not here. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Pkcs11Backend } from '../../../src/backend/pkcs11/pkcs11-backend.ts';
import type { Algorithm } from '../../../src/wire/algorithms.ts';
import { makeSofthsm, type TestSofthsm } from '../../support/softhsm.ts';

const ALLOWED_GROWTH_KB = 12_000;

describe('the memory of a module host', { timeout: 120_000 }, () => {
  let hsm: TestSofthsm;
  let backend: Pkcs11Backend;

  beforeAll(async () => {
    hsm = await makeSofthsm();
    backend = await hsm.open();
  });
  afterAll(async () => {
    await backend.close();
    await hsm.remove();
  });

  async function residentKb(): Promise<number> {
    const status = await readFile(`/proc/${backend.moduleHostPids()[0] ?? 0}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
  }

  async function growthKb(rounds: number, work: () => Promise<void>): Promise<number> {
    // The first third fills caches and lets the collector find its pace.
    for (let round = 0; round < rounds / 3; round++) await work();
    const before = await residentKb();
    for (let round = 0; round < rounds; round++) await work();
    return (await residentKb()) - before;
  }

  it('does not grow with keys that are generated and destroyed', async () => {
    const growth = await growthKb(120, async () => {
      const keyId = randomUUID();
      await backend.generate({ keyId, purpose: 'agent', algorithm: 'ES256' });
      await backend.destroy(keyId);
    });
    expect(growth).toBeLessThan(ALLOWED_GROWTH_KB);
  });

  for (const algorithm of ['ES256', 'PS256'] as const satisfies readonly Algorithm[]) {
    it(`does not grow with ${algorithm} signatures`, async () => {
      const { keyId } = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm });
      const octets = Buffer.alloc(200);
      const growth = await growthKb(60, async () => {
        await Promise.all(Array.from({ length: 32 }, () => backend.sign(keyId, { kind: 'message', octets })));
      });
      expect(growth).toBeLessThan(ALLOWED_GROWTH_KB);
    });
  }

  it('does not grow with calls that fail', async () => {
    const growth = await growthKb(600, async () => {
      await backend.find(randomUUID());
    });
    expect(growth).toBeLessThan(ALLOWED_GROWTH_KB);
  });
});
