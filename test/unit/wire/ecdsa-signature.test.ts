import { generateKeyPairSync, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ecdsaConcatToDer, ecdsaDerToConcat, verifyEcdsa } from '../../../src/wire/ecdsa-signature.ts';
import { codeOf } from '../../support/code-of.ts';
import { testKey } from '../../support/signed-request.ts';

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const refusal = (der: string): unknown => codeOf(() => ecdsaDerToConcat(hex(der), 32));

describe('ECDSA-Sig-Value and r||s', () => {
  it('pads short halves on the left', () => {
    const concat = ecdsaDerToConcat(hex('3006 0201 01 0201 7f'), 32);
    expect(Buffer.from(concat).toString('hex')).toBe(`${'1'.padStart(64, '0')}${'7f'.padStart(64, '0')}`);
  });

  it.each(['ES256', 'ES384'] as const)('%s: both forms of a signature verify, there and back', (alg) => {
    const key = testKey(alg);
    const octets = alg === 'ES256' ? 32 : 48;
    const hash = alg === 'ES256' ? 'sha256' : 'sha384';
    for (let round = 0; round < 200; round += 1) {
      const message = Buffer.from(String(round));
      const der = sign(hash, message, key.privateKey);
      const concat = ecdsaDerToConcat(der, octets);
      expect(concat.length).toBe(octets * 2);
      expect(verify(hash, message, { key: key.privateKey, dsaEncoding: 'ieee-p1363' }, concat)).toBe(true);
      expect(Buffer.from(ecdsaConcatToDer(concat, octets)).equals(der)).toBe(true);
    }
  });

  it('is refused at every cut and with a trailing octet', () => {
    const der = sign('sha256', Buffer.from('x'), testKey().privateKey);
    for (let end = 0; end < der.length; end += 1) {
      expect(
        codeOf(() => ecdsaDerToConcat(der.subarray(0, end), 32)),
        `cut at ${end}`,
      ).toBe('malformed_structure');
    }
    expect(codeOf(() => ecdsaDerToConcat(Buffer.concat([der, Buffer.from([0])]), 32))).toBe(
      'malformed_structure',
    );
  });

  it.each([
    ['a negative half', '3006 0201 80 0201 01'],
    ['a zero half', '3006 0201 00 0201 01'],
    ['a half with a needless zero', '3007 0202 0001 0201 01'],
    ['a third integer', '3009 0201 01 0201 01 0201 01'],
    ['one integer', '3003 0201 01'],
    ['a long-form length', '308106 0201 01 0201 01'],
    ['an indefinite length', '3080 0201 01 0201 01 0000'],
    ['a half of 33 octets', `3026 0221 01${'00'.repeat(32)} 0201 01`],
    ['a set', '3106 0201 01 0201 01'],
  ])('refuses %s', (_what, der) => {
    expect(refusal(der)).toBe('malformed_structure');
  });

  it('refuses r||s of another length or with a zero half', () => {
    for (const octets of [63, 65, 0]) {
      expect(codeOf(() => ecdsaConcatToDer(new Uint8Array(octets).fill(1), 32))).toBe('malformed_structure');
    }
    expect(
      codeOf(() => ecdsaConcatToDer(Buffer.concat([new Uint8Array(32), new Uint8Array(32).fill(1)]), 32)),
    ).toBe('malformed_structure');
  });

  it('turns any octets into an answer or a refusal', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (octets) => {
        expect([undefined, 'malformed_structure']).toContain(codeOf(() => ecdsaDerToConcat(octets, 32)));
      }),
    );
  });
});

describe('verifyEcdsa', () => {
  const message = Buffer.from('a message');

  it.each([
    ['P-256', 'sha256', 64],
    ['P-384', 'sha384', 96],
  ])('says of %s what node:crypto says of r||s', (namedCurve, hash, octets) => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve });
    // Enough of them to meet halves that begin with zeros.
    for (let round = 0; round < 300; round += 1) {
      const signature = sign(hash, message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      expect(signature).toHaveLength(octets);
      expect(verifyEcdsa(hash, message, publicKey, signature)).toBe(true);
      const changed = Uint8Array.from(signature);
      changed[round % octets] = (changed[round % octets] ?? 0) ^ 1;
      expect(verifyEcdsa(hash, message, publicKey, changed)).toBe(false);
    }
  });

  it('is false for a zero half, a half beyond the group order and another message', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const signature = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const [zero, most] = [Buffer.alloc(32), Buffer.alloc(32, 0xff)];
    const [r, s] = [signature.subarray(0, 32), signature.subarray(32)];
    for (const halves of [
      [zero, s],
      [r, zero],
      [zero, zero],
      [most, s],
      [r, most],
    ]) {
      expect(verifyEcdsa('sha256', message, publicKey, Buffer.concat(halves))).toBe(false);
    }
    expect(verifyEcdsa('sha256', Buffer.from('another'), publicKey, signature)).toBe(false);
  });
});
