import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { CKA } from '../../../../src/backend/pkcs11/constants.ts';
import {
  decodePublicKey,
  isOffered,
  judgeProtection,
  mechanismEntry,
  privateKeyTemplate,
  publicKeyTemplate,
} from '../../../../src/backend/pkcs11/mechanisms.ts';
import { ALGORITHMS } from '../../../../src/wire/algorithms.ts';
import { derOctetString } from '../../../../src/wire/der.ts';
import { codeOf } from '../../../support/code-of.ts';

const label = {
  keyId: '6f1c2b1e-5d0a-4c39-9a53-0d8b1f0e7a11',
  purpose: 'agent',
  algorithm: 'ES256',
} as const;
const coordinate = (octets: string | undefined): Buffer => Buffer.from(octets ?? '', 'base64url');

function ecPoint(curve: 'P-256' | 'P-384'): Buffer {
  const { x, y } = generateKeyPairSync('ec', { namedCurve: curve }).publicKey.export({ format: 'jwk' });
  return Buffer.concat([Buffer.of(4), coordinate(x), coordinate(y)]);
}

describe('public keys as tokens give them', () => {
  for (const [algorithm, curve] of [
    ['ES256', 'P-256'],
    ['ES384', 'P-384'],
  ] as const) {
    it(`${algorithm}: a point bare or in an OCTET STRING is the same key`, () => {
      const point = ecPoint(curve);
      const jwk = decodePublicKey(algorithm, [point]);
      expect(decodePublicKey(algorithm, [derOctetString(point)])).toEqual(jwk);
      const half = (point.length - 1) / 2;
      expect(jwk).toEqual({
        kty: 'EC',
        crv: curve,
        x: point.subarray(1, 1 + half).toString('base64url'),
        y: point.subarray(1 + half).toString('base64url'),
        alg: algorithm,
      });
      expect(createPublicKey({ key: { ...jwk }, format: 'jwk' }).asymmetricKeyType).toBe('ec');
    });

    it(`${algorithm}: is refused truncated at every offset, with a trailing octet, or compressed`, () => {
      const wrapped = Buffer.from(derOctetString(ecPoint(curve)));
      for (let length = 0; length < wrapped.length; length++) {
        // Without its last two octets a wrapped point is as long as a bare one, and starts with 4, as all do: a key
        // that is no point, which node:crypto refuses.
        if (length === wrapped.length - 2) continue;
        expect(codeOf(() => decodePublicKey(algorithm, [wrapped.subarray(0, length)]))).toBe(
          'malformed_structure',
        );
      }
      const wrong = [
        Buffer.concat([wrapped, Buffer.of(0)]),
        derOctetString(Buffer.concat([Buffer.of(2), wrapped])),
      ];
      const compressed = Buffer.from(wrapped);
      compressed[2] = 2;
      for (const value of [...wrong, compressed]) {
        expect(codeOf(() => decodePublicKey(algorithm, [value]))).toBe('malformed_structure');
      }
    });
  }

  it('Ed25519: 32 octets, bare or wrapped (RFC 8037 A.2)', () => {
    const x = Buffer.from('11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo', 'base64url');
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url'), alg: 'Ed25519' };
    expect(decodePublicKey('Ed25519', [x])).toEqual(jwk);
    const wrapped = derOctetString(x);
    expect(decodePublicKey('Ed25519', [wrapped])).toEqual(jwk);
    for (let length = 0; length < wrapped.length; length++) {
      if (length === 32) continue;
      expect(codeOf(() => decodePublicKey('Ed25519', [wrapped.subarray(0, length)]))).toBe(
        'malformed_structure',
      );
    }
  });

  it('RSA: leading zeros are not part of the number, and a weak or missing modulus is no key', () => {
    const modulus = Buffer.alloc(256, 0xa5);
    const exponent = Buffer.of(1, 0, 1);
    const jwk = decodePublicKey('PS256', [modulus, exponent]);
    expect(jwk).toEqual({ kty: 'RSA', n: modulus.toString('base64url'), e: 'AQAB', alg: 'PS256' });
    const zero = Buffer.of(0, 0);
    expect(
      decodePublicKey('PS256', [Buffer.concat([zero, modulus]), Buffer.concat([zero, exponent])]),
    ).toEqual(jwk);
    for (const values of [[], [modulus], [modulus.subarray(1), exponent], [Buffer.alloc(513, 1), exponent]]) {
      expect(codeOf(() => decodePublicKey('RS256', values))).toBe('malformed_structure');
    }
  });
});

describe('templates', () => {
  it('make a private key that signs, stays, and is told to do nothing else', () => {
    const required = new Map(privateKeyTemplate(label, false).map(({ type, value }) => [type, value]));
    expect(required.get(CKA.token)).toBe(true);
    expect(required.get(CKA.private)).toBe(true);
    expect(required.get(CKA.sensitive)).toBe(true);
    expect(required.get(CKA.extractable)).toBe(false);
    expect(required.get(CKA.sign)).toBe(true);
    expect(required.get(CKA.label)).toBe('agentkeyd:agent:ES256:6f1c2b1e-5d0a-4c39-9a53-0d8b1f0e7a11');
    expect(required.get(CKA.id)).toEqual(Buffer.from('6f1c2b1e5d0a4c399a530d8b1f0e7a11', 'hex'));
    const hardened = new Map(privateKeyTemplate(label, true).map(({ type, value }) => [type, value]));
    for (const right of [
      CKA.decrypt,
      CKA.unwrap,
      CKA.derive,
      CKA.signRecover,
      CKA.copyable,
      CKA.modifiable,
    ]) {
      expect(hardened.get(right)).toBe(false);
    }
    for (const [type, value] of required) expect(hardened.get(type)).toEqual(value);
  });

  it('ask for a curve or for a modulus, never for both', () => {
    const types = (curve: Buffer | undefined): number[] =>
      publicKeyTemplate(label, curve, 3072).map(({ type }) => type);
    expect(types(Buffer.of(1))).toContain(CKA.ecParams);
    expect(types(Buffer.of(1))).not.toContain(CKA.modulusBits);
    expect(types(undefined)).toContain(CKA.modulusBits);
    expect(types(undefined)).not.toContain(CKA.ecParams);
  });

  it('offer an algorithm only with both its mechanisms', () => {
    for (const algorithm of ALGORITHMS) {
      const { generate, sign } = mechanismEntry(algorithm);
      expect(isOffered(algorithm, new Set([generate, sign.mechanism]))).toBe(true);
      expect(isOffered(algorithm, new Set([generate]))).toBe(false);
      expect(isOffered(algorithm, new Set([sign.mechanism]))).toBe(false);
    }
  });
});

describe('protection as read back', () => {
  const kept = { CKA_SENSITIVE: true, CKA_EXTRACTABLE: false };

  it('holds only where the key is and always was kept', () => {
    const all = { ...kept, CKA_ALWAYS_SENSITIVE: true, CKA_NEVER_EXTRACTABLE: true, CKA_LOCAL: true };
    expect(judgeProtection(all).exportable).toBe(false);
    expect(judgeProtection(kept).exportable).toBe(false);
    for (const [name, value] of Object.entries(all)) {
      expect(judgeProtection({ ...all, [name]: !value }).exportable).toBe(true);
    }
  });

  it('counts a missing answer against the key', () => {
    expect(judgeProtection({}).exportable).toBe(true);
    expect(judgeProtection({ CKA_SENSITIVE: true }).exportable).toBe(true);
    expect(judgeProtection({ CKA_EXTRACTABLE: false }).exportable).toBe(true);
  });
});
