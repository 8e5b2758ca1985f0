/** When the answers to commands that wait behind one another are handed over: several together, or each at once. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lasting, startSlowTpm } from '../../scripts/sandbox/slow-tpm.ts';
import { EsysConnection } from '../../src/backend/tpm/esys.ts';
import { createSigningKey, createSrk, startTpm, type TestTpm } from '../support/esys.ts';

const DIGEST = createHash('sha256').update('octets').digest();
/** A machine that stands still for some milliseconds makes one TPM2_Sign look slow: then the next try tells. */
const TRIES = 50;

let tpm: TestTpm;

beforeEach(async () => {
  tpm = await startTpm();
});
afterEach(() => tpm.stop());

/**
 * Of each of eight signatures asked for at once: how many TPM2_Sign had reached the TPM when it was handed over. The
 * relay runs on the thread that is told: were each told at once, the first would be before the third command came.
 */
async function commandsSeen(hold: () => Promise<void>, tries: number): Promise<readonly number[][]> {
  const slow = await startSlowTpm({
    tpmSocket: join(tpm.swtpm.dir, 'tpm'),
    socket: join(tpm.swtpm.dir, 'slow'),
    hold,
  });
  const esys = await EsysConnection.open(slow.tcti);
  try {
    const key = await createSigningKey(esys, await createSrk(esys));
    const all: number[][] = [];
    for (let tried = 0; tried < tries; tried += 1) {
      const before = slow.signs;
      const asked = Array.from({ length: 8 }, async () => {
        expect(await esys.sign({ key, digest: DIGEST })).toBeInstanceOf(Uint8Array);
        return slow.signs - before;
      });
      all.push(await Promise.all(asked));
    }
    return all;
  } finally {
    await esys.close();
    await slow.stop();
  }
}

it('hands over four together while the TPM is quick and has three more to do', async () => {
  const all = await commandsSeen(() => Promise.resolve(), TRIES);
  expect(all.some((seen) => seen.slice(0, 4).every((commands) => commands >= 4))).toBe(true);
  // The fifth may have come in the same turn.
  for (const [first] of all) expect(first).toBeLessThanOrEqual(5);
});

it('hands over each at once where the TPM takes long', async () => {
  for (const seen of await commandsSeen(lasting(4), 2)) {
    for (const [at, commands] of seen.entries()) expect(commands).toBeLessThanOrEqual(at + 2);
  }
});
