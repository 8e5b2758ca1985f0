import {
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { VerificationThread } from '../../../../src/backend/pkcs11/verification-thread.ts';
import { verifyAddon, type NativePublicKey } from '../../../../src/backend/pkcs11/verify-addon.ts';
import { VerifyingKey } from '../../../../src/backend/pkcs11/verify-signature.ts';
import { algorithmEntry, ALGORITHMS, type Algorithm } from '../../../../src/wire/algorithms.ts';
import { parsePublicJwk } from '../../../../src/wire/jwk.ts';
import { codeOfAsync } from '../../../support/code-of.ts';

interface Pair {
  readonly algorithm: Algorithm;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly key: NativePublicKey;
}

/** What is verified: a digest, or a message for Ed25519, and a signature in JOSE form. */
interface Signed {
  readonly pair: Pair;
  readonly octets: Buffer;
  readonly signature: Buffer;
}

const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
const nativeKey = (algorithm: string, spki: Uint8Array): NativePublicKey =>
  new (verifyAddon().PublicKey)(algorithm, spki);

function makePair(algorithm: Algorithm): Pair {
  const { crv } = algorithmEntry(algorithm);
  const { privateKey, publicKey } =
    crv === undefined
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : crv === 'Ed25519'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('ec', { namedCurve: crv });
  return { algorithm, privateKey, publicKey, key: nativeKey(algorithm, spkiOf(publicKey)) };
}

function signWith(pair: Pair, message: Uint8Array = randomBytes(40)): Signed {
  const { hash, rsaPadding } = algorithmEntry(pair.algorithm);
  const options = rsaPadding === 'pss' ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {};
  const signature = sign(hash ?? null, message, {
    key: pair.privateKey,
    dsaEncoding: 'ieee-p1363',
    ...options,
  });
  const octets = hash === undefined ? Buffer.from(message) : createHash(hash).update(message).digest();
  return { pair, octets, signature };
}

const threads: VerificationThread[] = [];
afterEach(() => {
  for (const thread of threads.splice(0)) thread.close();
});
function start(): VerificationThread {
  const thread = new VerificationThread();
  threads.push(thread);
  return thread;
}

const ask = (thread: VerificationThread, { pair, octets, signature }: Signed): Promise<boolean> =>
  thread.verifies(pair.key, octets, signature);

/** Both ways to ask must agree. */
async function verdict(thread: VerificationThread, signed: Signed): Promise<boolean> {
  const here = signed.pair.key.verifies(signed.octets, signed.signature);
  expect(await ask(thread, signed)).toBe(here);
  return here;
}

describe('S17: the verification thread', () => {
  for (const algorithm of ALGORITHMS) {
    it(`S17: ${algorithm}: says yes to what the key signed, and no to all else`, async () => {
      const thread = start();
      const pair = makePair(algorithm);
      const good = signWith(pair);
      expect(await verdict(thread, good)).toBe(true);
      const { octets, signature } = good;
      const flipped = (of: Buffer, at: number): Buffer => {
        const result = Buffer.from(of);
        result[at] = (result[at] ?? 0) ^ (1 << (at % 8));
        return result;
      };
      for (let at = 0; at < signature.length; at += 1) {
        expect(await verdict(thread, { ...good, signature: flipped(signature, at) })).toBe(false);
        expect(await verdict(thread, { ...good, signature: signature.subarray(0, at) })).toBe(false);
      }
      for (const at of [0, octets.length - 1]) {
        expect(await verdict(thread, { ...good, octets: flipped(octets, at) })).toBe(false);
      }
      const wrongLengths = [0, octets.length - 1].map((length) => octets.subarray(0, length));
      for (const wrong of [...wrongLengths, Buffer.concat([octets, Buffer.of(0)]), Buffer.alloc(64)]) {
        expect(await verdict(thread, { ...good, octets: wrong })).toBe(false);
      }
      const long = Buffer.concat([signature, Buffer.of(0)]);
      expect(await verdict(thread, { ...good, signature: long })).toBe(false);
      expect(await verdict(thread, { ...good, pair: makePair(algorithm) })).toBe(false);
      // And after all of that it still knows a good one.
      expect(await verdict(thread, signWith(pair))).toBe(true);
    });
  }

  it('S17: a signature by another algorithm is none, under the same key too', async () => {
    const thread = start();
    const rs256 = makePair('RS256');
    const ps256: Pair = { ...rs256, algorithm: 'PS256', key: nativeKey('PS256', spkiOf(rs256.publicKey)) };
    const [byRs256, byPs256] = [signWith(rs256), signWith(ps256)];
    expect([await verdict(thread, byRs256), await verdict(thread, byPs256)]).toEqual([true, true]);
    expect(await verdict(thread, { ...byRs256, pair: ps256 })).toBe(false);
    expect(await verdict(thread, { ...byPs256, pair: rs256 })).toBe(false);
    for (const algorithm of ['ES256', 'ES384', 'Ed25519'] as const) {
      const other = signWith(makePair(algorithm));
      for (const pair of [rs256, makePair(algorithm === 'ES256' ? 'Ed25519' : 'ES256')]) {
        expect(await verdict(thread, { ...other, pair })).toBe(false);
      }
    }
  });

  it.each([
    ['ES256', 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n],
    [
      'ES384',
      0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
    ],
  ] as const)('S17: %s: r and s are at least 1 and less than the order', async (algorithm, n) => {
    const thread = start();
    const pair = makePair(algorithm);
    const good = signWith(pair);
    const half = good.signature.length / 2;
    const octets = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(2 * half, '0'), 'hex');
    const [r, s] = [good.signature.subarray(0, half), good.signature.subarray(half)];
    const edges = [0n, 1n, n - 1n, n, n + 1n, (1n << BigInt(8 * half)) - 1n].map(octets);
    for (const edge of edges) {
      for (const signature of [
        Buffer.concat([edge, s]),
        Buffer.concat([r, edge]),
        ...edges.map((other) => Buffer.concat([edge, other])),
      ]) {
        expect(await verdict(thread, { ...good, signature })).toBe(false);
      }
    }
    // ECDSA itself takes n − s for s: this one is good by the standard, and shows that the encoding is.
    const mirrored = octets(n - BigInt(`0x${s.toString('hex')}`));
    expect(await verdict(thread, { ...good, signature: Buffer.concat([r, mirrored]) })).toBe(true);
  });

  it('S17: gives 10,000 questions at once their own answers, many keys and many turns', async () => {
    const thread = start();
    const pairs = (['ES256', 'ES256', 'ES384', 'Ed25519', 'RS256', 'PS256'] as const).map(makePair);
    const signed = pairs.flatMap((pair) => Array.from({ length: 10 }, () => signWith(pair)));
    const answers = await Promise.all(
      Array.from({ length: 10_000 }, async (_, index) => {
        const one = signed[(index * 7) % signed.length];
        const other = signed[(index * 7 + 1) % signed.length];
        if (one === undefined || other === undefined) expect.unreachable();
        // Some of them in turns of their own.
        if (index % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
        const swapped = index % 3 === 0;
        return (await ask(thread, swapped ? { ...one, signature: other.signature } : one)) === !swapped;
      }),
    );
    expect(answers.every((right) => right)).toBe(true);
  });

  it('S17: has octets and signature as they were when it was asked', async () => {
    const thread = start();
    const { pair, octets, signature } = signWith(makePair('ES256'));
    const questions = Array.from({ length: 50 }, () => {
      const [given, by] = [Buffer.from(octets), Buffer.from(signature)];
      const answer = thread.verifies(pair.key, given, by);
      given.fill(0);
      by.fill(0);
      return answer;
    });
    expect(new Set(await Promise.all(questions))).toEqual(new Set([true]));
  });

  it('S17: that is closed with questions open refuses each of them, and all that follow', async () => {
    const thread = start();
    const good = signWith(makePair('ES256'));
    expect(await ask(thread, good)).toBe(true);
    const open = Array.from({ length: 500 }, () => codeOfAsync(() => ask(thread, good)));
    thread.close();
    expect(new Set(await Promise.all(open))).toEqual(new Set(['shutting_down']));
    expect(await codeOfAsync(() => ask(thread, good))).toBe('shutting_down');
    thread.close();
    expect(await codeOfAsync(() => ask(start(), good))).toBeUndefined();
  });

  it('S17: that has not started is closed all the same', async () => {
    const thread = start();
    thread.close();
    expect(await codeOfAsync(() => ask(thread, signWith(makePair('ES256'))))).toBe('shutting_down');
  });

  it('S17: has a queue with an end; what is over it is refused, the rest answered', async () => {
    const native = new (verifyAddon().VerificationThread)(4);
    const { pair, octets, signature } = signWith(makePair('ES384'));
    const asked = Array.from({ length: 2000 }, () => native.verifies(pair.key, octets, signature));
    const outcomes = await Promise.allSettled(asked);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(outcomes.slice(0, 4)).toEqual(Array(4).fill({ status: 'fulfilled', value: true }));
    expect(new Set(refused.map(({ reason }) => (reason as { code?: string }).code))).toEqual(
      new Set(['QUEUE_FULL']),
    );
    expect(await native.verifies(pair.key, octets, signature)).toBe(true);
    native.end();
  });

  it('answers about a key that is released meanwhile, and refuses one that was released', async () => {
    const thread = start();
    const good = signWith(makePair('ES256'));
    const open = Array.from({ length: 20 }, () => ask(thread, good));
    good.pair.key.release();
    good.pair.key.release();
    expect(new Set(await Promise.all(open))).toEqual(new Set([true]));
    expect(good.pair.key.verifies(good.octets, good.signature)).toBe(false);
    expect(await codeOfAsync(() => ask(thread, good))).toBe('key_not_found');
  });

  it('S17: reports a signature that does not verify as signature_mismatch', async () => {
    const thread = start();
    const pair = makePair('ES256');
    const key = new VerifyingKey(
      parsePublicJwk({ ...pair.publicKey.export({ format: 'jwk' }), alg: 'ES256' }),
    );
    const message = randomBytes(30);
    const { signature } = signWith(pair, message);
    const prepared = key.prepare({ kind: 'message', octets: message });
    for (const bad of [signWith(pair).signature, signature.subarray(1), Buffer.alloc(0)]) {
      expect(await codeOfAsync(() => key.releaseBeside(prepared, bad, thread))).toBe('signature_mismatch');
    }
    expect(await key.releaseBeside(prepared, signature, thread)).toEqual(Uint8Array.from(signature));
  });
});

describe('a native public key', () => {
  it('leaves none of OpenSSL’s errors behind for node:crypto to find', () => {
    const { key } = makePair('RS256');
    expect(key.verifies(Buffer.alloc(32), Buffer.alloc(256, 0xff))).toBe(false);
    expect(() => nativeKey('ES256', Buffer.alloc(40, 0x30))).toThrow(TypeError);
    let found: unknown = 'nothing was thrown';
    try {
      createPublicKey({ key: Buffer.alloc(40, 0x30), format: 'der', type: 'spki' });
    } catch (thrown) {
      found = (thrown as { readonly opensslErrorStack?: readonly string[] }).opensslErrorStack ?? [];
    }
    expect(JSON.stringify(found)).not.toMatch(/rsa/i);
  });

  it('is nothing but one whole key of its algorithm', () => {
    const spki = Object.fromEntries(ALGORITHMS.map((one) => [one, spkiOf(makePair(one).publicKey)]));
    for (const [algorithm, der] of Object.entries(spki)) {
      for (let length = 0; length < der.length; length += 1) {
        expect(() => nativeKey(algorithm, der.subarray(0, length))).toThrow(TypeError);
      }
      expect(() => nativeKey(algorithm, Buffer.concat([der, Buffer.of(0)]))).toThrow(TypeError);
      const fits = ALGORITHMS.filter((one) => {
        try {
          nativeKey(one, der);
          return true;
        } catch {
          return false;
        }
      });
      expect(fits).toEqual(
        algorithm.startsWith('RS') || algorithm.startsWith('PS') ? ['RS256', 'PS256'] : [algorithm],
      );
    }
    const strangers = [
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey,
      generateKeyPairSync('x25519').publicKey,
      generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey,
    ];
    for (const stranger of strangers) {
      for (const algorithm of ALGORITHMS) {
        expect(() => nativeKey(algorithm, spkiOf(stranger))).toThrow(TypeError);
      }
    }
    for (const name of ['', 'ES512', 'none', 'es256', 'ES256\0']) {
      expect(() => nativeKey(name, spki['ES256'] ?? Buffer.alloc(0))).toThrow(TypeError);
    }
  });

  it('takes octets, and the thread a key, and nothing that looks like either', async () => {
    const { PublicKey, VerificationThread: Native } = verifyAddon();
    const good = signWith(makePair('ES256'));
    const native = new Native(16);
    const wrong: readonly unknown[] = [
      undefined,
      null,
      'octets',
      32,
      {},
      new Uint16Array(32),
      new DataView(new ArrayBuffer(32)),
      Buffer.alloc(3 << 20),
    ];
    const impostors: readonly unknown[] = [
      undefined,
      1,
      {},
      native,
      Object.create(PublicKey.prototype as object),
      good.pair.publicKey,
    ];
    for (const value of wrong as readonly Uint8Array[]) {
      expect(() => good.pair.key.verifies(value, good.signature)).toThrow(TypeError);
      expect(() => good.pair.key.verifies(good.octets, value)).toThrow(TypeError);
      expect(() => new PublicKey('ES256', value)).toThrow(TypeError);
      await expect(native.verifies(good.pair.key, value, good.signature)).rejects.toThrow(TypeError);
      await expect(native.verifies(good.pair.key, good.octets, value)).rejects.toThrow(TypeError);
    }
    for (const value of impostors as readonly NativePublicKey[]) {
      await expect(native.verifies(value, good.octets, good.signature)).rejects.toThrow(TypeError);
    }
    for (const limit of [0, -1, NaN, 1e9, '4', undefined] as readonly number[]) {
      expect(() => new Native(limit)).toThrow(TypeError);
    }
    native.end();
    native.end();
  });
});
