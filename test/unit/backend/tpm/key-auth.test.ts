import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { AuthDeriver } from '../../../../src/backend/tpm/key-auth.ts';

const secret = new Uint8Array(32).fill(1);
const context = {
  keyId: '00000000-0000-4000-8000-000000000000',
  purpose: 'agent',
  epoch: 1,
  salt: new Uint8Array(32).fill(2),
} as const;

/** HKDF-SHA-256 (RFC 5869) of one block, by hand. */
function hkdf(salt: Uint8Array, info: string, length: number): Buffer {
  const key = createHmac('sha256', salt).update(secret).digest();
  return createHmac('sha256', key).update(info).update(Uint8Array.of(1)).digest().subarray(0, length);
}

describe('key auth', () => {
  it('S15: is base64url of HKDF-SHA-256(secret, salt, purpose, key id, epoch), 24 octets (DECISIONS 13)', () => {
    const auth = Buffer.from(new AuthDeriver(secret).keyAuth(context)).toString('latin1');
    expect(auth).toBe(hkdf(context.salt, `agent\0${context.keyId}\x001`, 24).toString('base64url'));
    expect(auth).toHaveLength(32);
  });

  it('S15: the AK has an auth and a unique of its own', () => {
    const deriver = new AuthDeriver(secret);
    expect(deriver.attestationKeyAuth()).toHaveLength(32);
    expect(deriver.attestationKeyUnique()).toHaveLength(32);
    expect(deriver.attestationKeyAuth()).toEqual(new AuthDeriver(secret).attestationKeyAuth());
    expect(deriver.attestationKeyUnique()).toEqual(new AuthDeriver(secret).attestationKeyUnique());
    expect(deriver.attestationKeyUnique()).not.toEqual(
      new AuthDeriver(new Uint8Array(32)).attestationKeyUnique(),
    );
  });

  it('keeps a copy of the secret: wiping it does not touch the caller’s', () => {
    for (const given of [secret.slice(), Buffer.from(secret)]) {
      const deriver = new AuthDeriver(given);
      deriver.close();
      expect([...given]).toEqual([...secret]);
      expect(deriver.attestationKeyAuth()).not.toEqual(new AuthDeriver(secret).attestationKeyAuth());
    }
  });

  it('refuses a secret of less than 32 octets', () => {
    expect(() => new AuthDeriver(new Uint8Array(31))).toThrow(
      expect.objectContaining({ code: 'configuration_invalid' }) as unknown,
    );
  });
});
