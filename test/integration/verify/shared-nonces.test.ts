import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SqliteNonceStore } from '../../../src/verify/sqlite-nonce-store.ts';
import { createVerifier, type Verifier } from '../../../src/verify/verifier.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { signedRequest, testKey } from '../../support/signed-request.ts';
import { makeTempDir, type TempDir } from '../../support/temp-dir.ts';

const run = promisify(execFile);
const script = fileURLToPath(new URL('../../support/claim-nonces.ts', import.meta.url));
let directory: TempDir;

beforeAll(async () => {
  directory = await makeTempDir();
});
afterAll(async () => {
  await directory.remove();
});

describe('S4: one nonce store for all replicas', () => {
  it('S4: of four processes that race for 50 nonces, each nonce goes to one', async () => {
    const path = join(directory.path, 'race.db');
    new SqliteNonceStore({ path }).close();
    const startAt = String(Date.now() + 1500);
    const outputs = await Promise.all(
      [1, 2, 3, 4].map(() => run(process.execPath, [script, path, '50', startAt], { timeout: 30_000 })),
    );
    const claimed = outputs.map(({ stdout }) => Number(stdout));
    expect(claimed.reduce((sum, count) => sum + count, 0)).toBe(50);
  });

  it('S4: a request accepted by one verifier is refused by another over the same file', async () => {
    const path = join(directory.path, 'verifiers.db');
    const key = testKey();
    const nowSeconds = Math.floor(Date.now() / 1000);
    const stores = [new SqliteNonceStore({ path }), new SqliteNonceStore({ path })];
    const [one, two] = stores.map((nonceStore): Verifier =>
      createVerifier({
        origins: ['https://api.example'],
        profiles: ['rfc9421'],
        credentials: { pinnedKey: () => ({ id: 'a', jwk: key.jwk, assurance: 'hw-key' }) },
        nonceStore,
      }),
    );
    const request = signedRequest({ profile: 'rfc9421', key, nowSeconds });
    expect((await one?.verify(request))?.agent.id).toBe('a');
    expect(await codeOfAsync(async () => two?.verify(request))).toBe('replayed');
    for (const store of stores) store.close();
  });
});
