import {
  constants,
  createECDH,
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  randomUUID,
  sign,
  type KeyObject,
} from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { SignInput } from '../../../../src/backend/backend.ts';
import { KnownKeys } from '../../../../src/backend/pkcs11/known-keys.ts';
import { VerificationThread } from '../../../../src/backend/pkcs11/verification-thread.ts';
import { VerifyingKey } from '../../../../src/backend/pkcs11/verify-signature.ts';
import { algorithmEntry, ALGORITHMS, type Algorithm } from '../../../../src/wire/algorithms.ts';
import { parsePublicJwk, type PublicJwk } from '../../../../src/wire/jwk.ts';
import { codeOf, codeOfAsync } from '../../../support/code-of.ts';

function makeKey(algorithm: Algorithm): { readonly privateKey: KeyObject; readonly verifying: VerifyingKey } {
  const { crv } = algorithmEntry(algorithm);
  const { publicKey, privateKey } =
    crv === undefined
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : crv === 'Ed25519'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('ec', { namedCurve: crv });
  const jwk = parsePublicJwk({ ...publicKey.export({ format: 'jwk' }), alg: algorithm });
  return { privateKey, verifying: new VerifyingKey(jwk) };
}

function signWith(algorithm: Algorithm, key: KeyObject, message: Uint8Array, saltLength = 32): Buffer {
  const { hash, rsaPadding } = algorithmEntry(algorithm);
  if (rsaPadding === 'pss')
    return sign(hash, message, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
  return sign(hash ?? null, message, { key, dsaEncoding: 'ieee-p1363' });
}

const release = (key: VerifyingKey, input: SignInput, fromModule: Uint8Array): Uint8Array =>
  key.release(key.prepare(input), fromModule);

const digestOf = (algorithm: Algorithm, message: Uint8Array): Buffer =>
  createHash(algorithmEntry(algorithm).hash ?? 'sha256')
    .update(message)
    .digest();

/**
 * A P-256 signature whose r and s both begin with a zero octet, which chance makes once in 65,536: a nonce k with
 * a short x(k·G) and a short s are chosen first, and the private key (s·k − e)/r follows (FIPS 186-5 §6.4.1).
 */
function shortEcdsaSignature(message: Buffer): { readonly publicJwk: PublicJwk; readonly signature: Buffer } {
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const integer = (octets: Buffer): bigint => BigInt(`0x${octets.toString('hex')}`);
  const octets = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(64, '0'), 'hex');
  const publicPoint = (scalar: Buffer): Buffer => {
    const ecdh = createECDH('prime256v1');
    ecdh.setPrivateKey(scalar);
    return ecdh.getPublicKey();
  };
  let k = randomBytes(32);
  while (publicPoint(k)[1] !== 0) k = randomBytes(32);
  const r = publicPoint(k).subarray(1, 33);
  const s = Buffer.concat([Buffer.of(0), randomBytes(31)]);
  const e = integer(digestOf('ES256', message));
  let inverse = 1n;
  // Fermat: r^(n−2) mod n.
  for (let exponent = n - 2n, base = integer(r); exponent > 0n; exponent >>= 1n, base = (base * base) % n) {
    if (exponent & 1n) inverse = (inverse * base) % n;
  }
  const d = ((((integer(s) * integer(k) - e) % n) + n) * inverse) % n;
  const point = publicPoint(octets(d));
  const publicJwk = parsePublicJwk({
    kty: 'EC',
    crv: 'P-256',
    x: point.subarray(1, 33).toString('base64url'),
    y: point.subarray(33).toString('base64url'),
    alg: 'ES256',
  });
  return { publicJwk, signature: Buffer.concat([r, s]) };
}

describe('S17: signatures are verified before release', () => {
  for (const algorithm of ALGORITHMS) {
    const { privateKey, verifying } = makeKey(algorithm);
    const inputsOver = (message: Uint8Array): SignInput[] => [
      { kind: 'message', octets: message },
      ...(algorithm === 'Ed25519' ? [] : [{ kind: 'digest' as const, octets: digestOf(algorithm, message) }]),
    ];

    it(`S17: ${algorithm}: releases a good signature over message and digest alike`, () => {
      for (let round = 0; round < 20; round++) {
        const message = randomBytes(round);
        const signature = signWith(algorithm, privateKey, message);
        for (const input of inputsOver(message)) {
          expect(Buffer.from(release(verifying, input, signature)).equals(signature)).toBe(true);
        }
      }
    });

    it(`S17: ${algorithm}: holds back one with any octet changed, over other octets, or by another key`, () => {
      const message = randomBytes(33);
      const signature = signWith(algorithm, privateKey, message);
      const stranger = signWith(algorithm, makeKey(algorithm).privateKey, message);
      for (const input of inputsOver(message)) {
        for (let index = 0; index < signature.length; index++) {
          const changed = Buffer.from(signature);
          changed[index] = (changed[index] ?? 0) ^ (1 << (index % 8));
          expect(codeOf(() => release(verifying, input, changed))).toBe('signature_mismatch');
        }
        expect(codeOf(() => release(verifying, input, stranger))).toBe('signature_mismatch');
      }
      for (const input of inputsOver(Buffer.concat([message, Buffer.of(0)]))) {
        expect(codeOf(() => release(verifying, input, signature))).toBe('signature_mismatch');
      }
    });

    it(`S17: ${algorithm}: holds back one that is truncated at any offset, too long, or all of one octet`, () => {
      const message = randomBytes(33);
      const signature = signWith(algorithm, privateKey, message);
      for (const input of inputsOver(message)) {
        for (let length = 0; length < signature.length; length++) {
          expect(codeOf(() => release(verifying, input, signature.subarray(0, length)))).toBe(
            'signature_mismatch',
          );
        }
        for (const wrong of [
          Buffer.concat([signature, Buffer.of(0)]),
          Buffer.concat([Buffer.of(0), signature]),
        ]) {
          expect(codeOf(() => release(verifying, input, wrong))).toBe('signature_mismatch');
        }
        for (const octet of [0x00, 0x01, 0xff]) {
          const uniform = Buffer.alloc(signature.length, octet);
          expect(codeOf(() => release(verifying, input, uniform))).toBe('signature_mismatch');
        }
      }
    });
  }

  it('pads r and s on the left where a module dropped the zeros of both', () => {
    const message = Buffer.from('short');
    const { publicJwk, signature } = shortEcdsaSignature(message);
    const verifying = new VerifyingKey(publicJwk);
    const fromModule = Buffer.concat([signature.subarray(1, 32), signature.subarray(33)]);
    expect(fromModule).toHaveLength(62);
    for (const input of [
      { kind: 'message', octets: message },
      { kind: 'digest', octets: digestOf('ES256', message) },
    ] as const) {
      expect(Buffer.from(release(verifying, input, fromModule)).equals(signature)).toBe(true);
      expect(Buffer.from(release(verifying, input, signature)).equals(signature)).toBe(true);
      expect(codeOf(() => release(verifying, input, fromModule.subarray(1)))).toBe('signature_mismatch');
    }
  });

  it('pads a short r‖s of equal halves and a short RSA integer', () => {
    const rsa = makeKey('RS256');
    for (let round = 0; round < 3000; round++) {
      const message = randomBytes(16);
      const signature = signWith('RS256', rsa.privateKey, message);
      if (signature[0] !== 0) continue;
      const input: SignInput = { kind: 'message', octets: message };
      expect(Buffer.from(release(rsa.verifying, input, signature.subarray(1))).equals(signature)).toBe(true);
      return;
    }
    expect.unreachable('no RSA signature began with a zero octet in 3000');
  });

  it('takes no PSS signature with another salt length (RFC 7518 §3.5)', () => {
    const { privateKey, verifying } = makeKey('PS256');
    const message = randomBytes(10);
    for (const saltLength of [0, 20, 31, 33, 64]) {
      const signature = signWith('PS256', privateKey, message, saltLength);
      const inputs: SignInput[] = [
        { kind: 'message', octets: message },
        { kind: 'digest', octets: digestOf('PS256', message) },
      ];
      for (const input of inputs)
        expect(codeOf(() => release(verifying, input, signature))).toBe('signature_mismatch');
    }
  });

  it('takes no RSA signature of the other padding', () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const jwk = createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' })).export({
      format: 'jwk',
    });
    const { kty, n, e } = jwk;
    const message = randomBytes(10);
    for (const [alg, other] of [
      ['RS256', 'PS256'],
      ['PS256', 'RS256'],
    ] as const) {
      const verifying = new VerifyingKey(parsePublicJwk({ kty, n, e, alg }));
      const signature = signWith(other, privateKey, message);
      for (const input of [
        { kind: 'message', octets: message },
        { kind: 'digest', octets: digestOf(alg, message) },
      ] as const) {
        expect(codeOf(() => release(verifying, input, signature))).toBe('signature_mismatch');
      }
    }
  });

  it('refuses a public key that is no point on its curve', () => {
    const x = randomBytes(32).toString('base64url');
    expect(codeOf(() => new VerifyingKey({ kty: 'EC', crv: 'P-256', x, y: x, alg: 'ES256' }))).toBe(
      'internal',
    );
  });
});

describe('a key that was destroyed', () => {
  it('S17: releases nothing any more, not even what verifies, and says that it was destroyed', async () => {
    const { privateKey, verifying } = makeKey('ES256');
    const message = randomBytes(20);
    const signature = signWith('ES256', privateKey, message);
    const prepared = verifying.prepare({ kind: 'message', octets: message });
    const thread = new VerificationThread();
    const underWay = verifying.releaseBeside(prepared, signature, thread);
    verifying.dispose();
    expect(Buffer.from(await underWay).equals(signature)).toBe(true);
    expect(codeOf(() => verifying.release(prepared, signature))).toBe('key_not_found');
    expect(await codeOfAsync(() => verifying.releaseBeside(prepared, signature, thread))).toBe(
      'key_not_found',
    );
    verifying.dispose();
    thread.close();
  });

  it('is what a key becomes that is forgotten, and every key at the end', () => {
    const known = new KnownKeys();
    const keys = (['ES256', 'Ed25519', 'RS256'] as const).map((algorithm) => {
      const { privateKey, verifying } = makeKey(algorithm);
      const { jwk: publicJwk } = verifying;
      const pinned = known.pin({ keyId: randomUUID(), purpose: 'agent', algorithm, publicJwk });
      const prepared = pinned.verifying.prepare({ kind: 'message', octets: Buffer.from('x') });
      const signature = signWith(algorithm, privateKey, Buffer.from('x'));
      return { pinned, sign: () => codeOf(() => pinned.verifying.release(prepared, signature)) };
    });
    const [first] = keys;
    const codes = (): unknown[] => keys.map(({ sign }) => sign());
    expect(codes()).toEqual([undefined, undefined, undefined]);
    known.forget(first?.pinned.key.keyId ?? '');
    expect(codes()).toEqual(['key_not_found', undefined, undefined]);
    expect(known.get(first?.pinned.key.keyId ?? '')).toBeUndefined();
    known.forgetAll();
    expect(codes()).toEqual(['key_not_found', 'key_not_found', 'key_not_found']);
  });
});

describe('what the mechanism is given', () => {
  it('is the digest for ECDSA and PSS, the DigestInfo for PKCS#1 v1.5, the message for Ed25519', () => {
    const octets = Buffer.from('abc');
    const input: SignInput = { kind: 'message', octets };
    // FIPS 180-4 examples for "abc"; RFC 8017 §9.2 note 1.
    const sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
    const given = (algorithm: Algorithm): string =>
      Buffer.from(makeKey(algorithm).verifying.prepare(input).forMechanism).toString('hex');
    expect(given('ES256')).toBe(sha256);
    expect(given('PS256')).toBe(sha256);
    expect(given('ES384')).toMatch(/^cb00753f45a35e8bb5a03d699ac65007/);
    expect(given('RS256')).toBe(`3031300d060960864801650304020105000420${sha256}`);
    expect(given('Ed25519')).toBe(octets.toString('hex'));
  });

  it('is never a digest of another length, nor any digest for Ed25519', () => {
    const lengths = { ES256: 32, ES384: 48, RS256: 32, PS256: 32 } as const;
    for (const [algorithm, length] of Object.entries(lengths) as [Algorithm, number][]) {
      const { verifying } = makeKey(algorithm);
      const given = verifying.prepare({ kind: 'digest', octets: Buffer.alloc(length, 1) }).forMechanism;
      expect(Buffer.from(given).subarray(-length).equals(Buffer.alloc(length, 1))).toBe(true);
      for (const wrong of [0, 20, length - 1, length + 1, 64]) {
        const input: SignInput = { kind: 'digest', octets: Buffer.alloc(wrong) };
        expect(codeOf(() => verifying.prepare(input).forMechanism)).toBe('malformed_request');
      }
    }
    const digest: SignInput = { kind: 'digest', octets: Buffer.alloc(32) };
    expect(codeOf(() => makeKey('Ed25519').verifying.prepare(digest).forMechanism)).toBe(
      'unsupported_algorithm',
    );
  });
});
