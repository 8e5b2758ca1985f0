import { execFile } from 'node:child_process';
import { createHash, createPublicKey, randomBytes, randomUUID, verify } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.ts';
import type { HardwareKey } from '../../../src/backend/backend.ts';
import { AuthDeriver } from '../../../src/backend/tpm/key-auth.ts';
import type { TpmBackend } from '../../../src/backend/tpm/tpm-backend.ts';
import { verifySignature } from '../../../src/wire/public-key.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { makeTempDir } from '../../support/temp-dir.ts';
import { transientHandles } from '../../support/tpm2-tools.ts';
import { TpmHost } from '../../support/tpm-backend.ts';

const run = promisify(execFile);

describe('keys in a TPM', { timeout: 120_000 }, () => {
  let swtpm: TestSwtpm;
  let host: TpmHost;
  let backend: TpmBackend;
  const warnings: unknown[] = [];

  beforeAll(async () => {
    swtpm = await startSwtpm();
    host = new TpmHost(swtpm.tcti);
    backend = await host.open({
      logger: { ...silentLogger, warn: (fields, message) => warnings.push([message, fields]) },
    });
  });
  afterAll(async () => {
    await backend.close();
    await swtpm.stop();
  });

  const generate = (): Promise<HardwareKey> =>
    backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });

  it('200 keys are in use at once, though the TPM has three slots, and no fault has to be mended', async () => {
    const keys: HardwareKey[] = [];
    for (let made = 0; made < 200; made += 1) keys.push(await generate());
    warnings.length = 0;
    const jobs = Array.from({ length: 600 }, (_, index) => ({
      key: keys[index % keys.length] as HardwareKey,
      octets: randomBytes(32),
    }));
    const signatures = await Promise.all(
      jobs.map(({ key, octets }) => backend.sign(key.keyId, { kind: 'message', octets })),
    );
    const valid = jobs.filter(({ key, octets }, index) =>
      verifySignature(key.publicJwk, octets, signatures[index] ?? new Uint8Array()),
    );
    expect(valid).toHaveLength(600);
    expect(warnings).toEqual([]);
  });

  it('the exported file is loaded by tpm2-openssl, with the derived auth as its passphrase', async () => {
    const key = await generate();
    const record = host.store.records.get(key.keyId);
    if (record === undefined) throw new Error('the key was not stored');
    const auth = Buffer.from(new AuthDeriver(host.secret).keyAuth(record)).toString('latin1');
    expect(auth).toMatch(/^[A-Za-z0-9_-]{32}$/);
    const temp = await makeTempDir();
    try {
      const at = (name: string): string => join(temp.path, name);
      await writeFile(at('key.pem'), await backend.exportTss2(key.keyId));
      await writeFile(at('message'), 'signed by OpenSSL');
      const openssl = (passphrase: string): Promise<unknown> =>
        run(
          'openssl',
          [
            'pkeyutl',
            '-provider',
            'tpm2',
            '-provider',
            'default',
            '-propquery',
            '?provider=tpm2',
            '-sign',
          ].concat(
            ['-rawin', '-digest', 'sha256', '-inkey', at('key.pem'), '-passin', `pass:${passphrase}`],
            ['-in', at('message'), '-out', at('signature')],
          ),
          { env: { ...swtpm.env, TPM2OPENSSL_TCTI: swtpm.tcti }, timeout: 30_000 },
        );
      // OpenSSL needs two slots; an idle backend has none.
      await expect.poll(() => transientHandles(swtpm), { timeout: 10_000 }).toEqual([]);
      await openssl(auth);
      await writeFile(
        at('public.pem'),
        createPublicKey({ key: { ...key.publicJwk }, format: 'jwk' }).export({ type: 'spki', format: 'pem' }),
      );
      const { stdout } = await run('openssl', [
        ...['dgst', '-sha256', '-verify', at('public.pem'), '-signature', at('signature'), at('message')],
      ]);
      expect(stdout).toContain('Verified OK');
      await expect(openssl(auth.slice(1))).rejects.toThrow();
    } finally {
      await temp.remove();
    }
    // OpenSSL had the slots meanwhile; the backend goes on.
    expect(await backend.sign(key.keyId, { kind: 'message', octets: Buffer.of(1) })).toHaveLength(64);
  });

  it('S15: auth values differ by salt, purpose, key id, epoch and secret', () => {
    const context = { keyId: randomUUID(), purpose: 'agent', epoch: 1, salt: randomBytes(32) } as const;
    const auth = (change: object, secret = host.secret): string =>
      Buffer.from(new AuthDeriver(secret).keyAuth({ ...context, ...change })).toString('latin1');
    const all = [
      auth({}),
      auth({ keyId: randomUUID() }),
      auth({ purpose: 'host' }),
      auth({ epoch: 2 }),
      auth({ salt: randomBytes(32) }),
      auth({}, randomBytes(32)),
    ];
    expect(new Set(all).size).toBe(all.length);
    expect(auth({})).toBe(all[0]);
  });

  it('S15: another secret can not use the key, and S20: its auth is not tried a second time, nor after a restart', async () => {
    const key = await generate();
    const secret = randomBytes(32);
    let stranger = await host.open({ secret });
    const sign = (): Promise<unknown> => stranger.sign(key.keyId, { kind: 'message', octets: Buffer.of(1) });
    try {
      expect(await codeOfAsync(sign)).toBe('tpm_auth_failed');
      // Had it asked again, it would have found no TPM.
      await swtpm.kill9();
      expect(await codeOfAsync(sign)).toBe('tpm_auth_failed');
      await stranger.close();
      stranger = await host.open({ secret });
      expect(await codeOfAsync(sign)).toBe('tpm_auth_failed');
    } finally {
      await stranger.close();
      await swtpm.restart();
    }
    expect(await backend.sign(key.keyId, { kind: 'message', octets: Buffer.of(1) })).toHaveLength(64);
  });

  it('S15: a retired key signs nothing, even for requests that waited before it was retired', async () => {
    const key = await generate();
    const busy = await generate();
    const input = { kind: 'message', octets: randomBytes(32) } as const;
    const before = Array.from({ length: 50 }, () => backend.sign(busy.keyId, input));
    const late = codeOfAsync(() => backend.sign(key.keyId, input));
    // All of them stand in the queue when the key is retired: no answer of the TPM is looked at before.
    for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
    await backend.destroy(key.keyId);
    expect(await late).toBe('key_not_found');
    expect(await codeOfAsync(() => backend.sign(key.keyId, input))).toBe('key_not_found');
    expect(await Promise.all(before)).toHaveLength(50);
    expect(host.store.records.has(key.keyId)).toBe(false);
  });

  it('S20: RSA is off unless it is configured', async () => {
    const request = { keyId: randomUUID(), purpose: 'agent', algorithm: 'RS256' } as const;
    expect(await codeOfAsync(() => backend.generate(request))).toBe('unsupported_algorithm');
    expect((await backend.describe()).algorithms).toEqual(['ES256', 'ES384']);
  });

  it('refuses a secret that is too short', async () => {
    expect(await codeOfAsync(() => host.open({ secret: randomBytes(31) }))).toBe('configuration_invalid');
  });

  it('a full queue answers at once', async () => {
    const small = await host.open({ queueLimit: 4 });
    try {
      const key = await generate();
      const codes = await Promise.all(
        Array.from({ length: 20 }, () =>
          codeOfAsync(() => small.sign(key.keyId, { kind: 'message', octets: Buffer.of(1) })),
        ),
      );
      expect(codes.filter((code) => code === 'too_many_requests')).toHaveLength(15);
      expect(codes.filter((code) => code === undefined)).toHaveLength(5);
    } finally {
      await small.close();
    }
  });

  it('what it signs verifies under node:crypto with the digest made elsewhere', async () => {
    const key = await generate();
    const message = randomBytes(100);
    const octets = createHash('sha256').update(message).digest();
    const signature = await backend.sign(key.keyId, { kind: 'digest', octets });
    const publicKey = createPublicKey({ key: { ...key.publicJwk }, format: 'jwk' });
    expect(verify('sha256', message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true);
  });
});
