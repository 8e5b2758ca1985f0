import { createPublicKey } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TPMA_OBJECT_KNOWN, TPM_RH } from '../../../../src/wire/tpm/constants.ts';
import {
  childQualifiedName,
  nameHash,
  primaryQualifiedName,
  publicAreaName,
} from '../../../../src/wire/tpm/name.ts';
import {
  attributeNames,
  hasAttributes,
  parsePublicArea,
  serializePublicArea,
  type PublicArea,
} from '../../../../src/wire/tpm/public-area.ts';
import { publicAreaToJwk, publicAreaToKeyObject } from '../../../../src/wire/tpm/public-key.ts';
import { expectStrict, fromHex, malformed, objectNamed, toHex, vectors } from './vectors.ts';

const octetsOf = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const common = {
  nameAlg: fc.constantFrom('sha256' as const),
  attributes: fc.integer({ min: 0, max: 0xfffff }).map((bits) => bits & TPMA_OBJECT_KNOWN),
  authPolicy: fc.oneof(octetsOf(0), octetsOf(32)),
  symmetricBits: fc.constantFrom(undefined, 128 as const, 192 as const, 256 as const),
};
const hash = fc.constantFrom('sha1' as const, 'sha256' as const, 'sha384' as const, 'sha512' as const);
const ecc: fc.Arbitrary<PublicArea> = fc.record({
  type: fc.constant('ecc' as const),
  ...common,
  scheme: fc.option(fc.record({ scheme: fc.constant('ecdsa' as const), hash }), { nil: undefined }),
  curve: fc.constantFrom('P-256' as const, 'P-384' as const, 'P-521' as const),
  x: fc.uint8Array({ maxLength: 32 }),
  y: fc.uint8Array({ maxLength: 32 }),
});
const rsa: fc.Arbitrary<PublicArea> = fc.record({
  type: fc.constant('rsa' as const),
  ...common,
  scheme: fc.option(fc.record({ scheme: fc.constantFrom('rsassa' as const, 'rsapss' as const), hash }), {
    nil: undefined,
  }),
  keyBits: fc.constantFrom(2048 as const, 3072 as const, 4096 as const),
  exponent: fc.constantFrom(0, 65537),
  modulus: fc.uint8Array({ maxLength: 256 }),
});

describe('TPMT_PUBLIC', () => {
  for (const object of vectors.objects) {
    it(`reads ${object.what} as tpm2-tools wrote it, octet for octet`, () => {
      const octets = fromHex(object.publicArea);
      const area = parsePublicArea(octets);
      expect(toHex(serializePublicArea(area))).toBe(object.publicArea);
      expect(toHex(publicAreaName(octets))).toBe(object.name);
      const spki = createPublicKey({ key: Buffer.from(object.spki, 'hex'), format: 'der', type: 'spki' });
      expect(publicAreaToKeyObject(area).equals(spki)).toBe(true);
      expectStrict(parsePublicArea, octets);
    });
  }

  it('computes the Qualified Names that the TPM computed', () => {
    const hierarchies = { owner: TPM_RH.OWNER, endorsement: TPM_RH.ENDORSEMENT } as const;
    for (const { parent, name, qualifiedName } of vectors.objects) {
      const computed =
        parent === 'owner' || parent === 'endorsement'
          ? primaryQualifiedName(hierarchies[parent], fromHex(name))
          : childQualifiedName(fromHex(objectNamed(parent).qualifiedName), fromHex(name));
      expect(toHex(computed)).toBe(qualifiedName);
    }
  });

  it('serializes and parses any key to itself', () => {
    fc.assert(
      fc.property(fc.oneof(ecc, rsa), (area) => {
        expect(parsePublicArea(serializePublicArea(area))).toEqual(area);
      }),
    );
  });

  it('gives the JWK its algorithm from curve or scheme, and none to an RSA key that does not say', () => {
    const jwk = (what: string): unknown =>
      publicAreaToJwk(parsePublicArea(fromHex(objectNamed(what).publicArea)));
    const exported = (what: string): object =>
      createPublicKey({
        key: Buffer.from(objectNamed(what).spki, 'hex'),
        format: 'der',
        type: 'spki',
      }).export({
        format: 'jwk',
      });
    for (const alg of ['ES256', 'ES384', 'RS256', 'PS256']) {
      expect(jwk(`key ${alg}`)).toEqual({ ...exported(`key ${alg}`), alg });
    }
    expect(() => jwk('EK L-1')).toThrow(
      expect.objectContaining({ code: 'unsupported_algorithm' }) as unknown,
    );
  });

  it('left-pads a coordinate that the TPM wrote without its leading zeros', () => {
    const area = parsePublicArea(fromHex(objectNamed('key ES256').publicArea));
    if (area.type !== 'ecc') throw new Error('not an ECC key');
    const jwk = publicAreaToJwk({ ...area, x: area.x.subarray(3), y: area.y });
    expect(jwk.kty === 'EC' && Buffer.from(jwk.x, 'base64url').subarray(0, 3)).toEqual(Buffer.alloc(3));
  });

  it('refuses a modulus of another length than the area says, as key and as JWK', () => {
    const area = parsePublicArea(fromHex(objectNamed('key RS256').publicArea));
    if (area.type !== 'rsa') throw new Error('not an RSA key');
    const shorter = { ...area, modulus: area.modulus.subarray(1) };
    const refused = expect.objectContaining({ code: 'malformed_structure' }) as unknown;
    expect(() => publicAreaToKeyObject(shorter)).toThrow(refused);
    expect(() => publicAreaToJwk(shorter)).toThrow(refused);
  });

  it('refuses what is not an asymmetric key, reserved bits, and parameters that nobody here makes', () => {
    const ak = fromHex(objectNamed('AK').publicArea);
    const changed = (offset: number, ...octets: number[]): Uint8Array => {
      const copy = ak.slice();
      copy.set(octets, offset);
      return copy;
    };
    const at = {
      type: 0,
      nameAlg: 2,
      attributes: 4,
      symmetric: 10,
      scheme: 12,
      hash: 14,
      curve: 16,
      kdf: 18,
    };
    for (const [offset, value] of [
      [at.type, 0x0008],
      [at.type, 0x0025],
      [at.nameAlg, 0x0012],
      [at.attributes, 0x8005],
      [at.symmetric, 0x0006],
      [at.scheme, 0x001a],
      [at.hash, 0x0027],
      [at.curve, 0x0020],
      [at.kdf, 0x0020],
    ] as const) {
      expect(() => parsePublicArea(changed(offset, value >> 8, value & 0xff)), `${offset}`).toThrow(
        malformed,
      );
    }
    // An authPolicy that is no digest of nameAlg.
    const policy = Buffer.concat([ak.subarray(0, 8), Buffer.from('00040102030400', 'hex'), ak.subarray(10)]);
    expect(() => parsePublicArea(policy)).toThrow(malformed);
    expect(() => parsePublicArea(changed(3, 0x0b))).not.toThrow();
  });

  it('refuses a point that is not on its curve', () => {
    const octets = fromHex(objectNamed('AK').publicArea);
    octets[octets.length - 1] = (octets.at(-1) ?? 0) ^ 1;
    expect(() => publicAreaToKeyObject(parsePublicArea(octets))).toThrow(malformed);
  });

  it('names attributes', () => {
    const ak = parsePublicArea(fromHex(objectNamed('AK').publicArea));
    expect(attributeNames(ak.attributes)).toEqual([
      'fixedTPM',
      'fixedParent',
      'sensitiveDataOrigin',
      'userWithAuth',
      'noDA',
      'restricted',
      'sign',
    ]);
    expect(hasAttributes(ak, 'restricted', 'sign')).toBe(true);
    expect(hasAttributes(ak, 'sign', 'decrypt')).toBe(false);
  });
});

describe('Names', () => {
  it('are nothing but an algorithm and its digest', () => {
    const name = fromHex(objectNamed('AK').name);
    expect(nameHash(name)).toBe('sha256');
    for (const wrong of [
      name.subarray(1),
      name.subarray(0, 33),
      new Uint8Array(),
      Buffer.concat([name, Buffer.of(0)]),
    ]) {
      expect(() => nameHash(wrong)).toThrow(malformed);
    }
  });
});
