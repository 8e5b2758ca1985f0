import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAttest, serializeAttest, type Attest } from '../../../../src/wire/tpm/attest.ts';
import { parsePublicArea } from '../../../../src/wire/tpm/public-area.ts';
import { ATTESTED_PCRS, pcrDigest } from '../../../../src/wire/tpm/pcr-selection.ts';
import {
  joseToSignature,
  parseSignature,
  serializeSignature,
  signatureToJose,
  verifyTpmSignature,
} from '../../../../src/wire/tpm/signature.ts';
import { expectStrict, fromHex, malformed, objectNamed, toHex, vectors } from './vectors.ts';

const head = {
  qualifiedSigner: fc.uint8Array({ maxLength: 66 }),
  extraData: fc.uint8Array({ maxLength: 66 }),
  clockInfo: fc.record({
    clock: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    resetCount: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    restartCount: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    safe: fc.boolean(),
  }),
  firmwareVersion: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
};
const name = fc.uint8Array({ maxLength: 66 });
const digest = fc.uint8Array({ maxLength: 64 });
const attest: fc.Arbitrary<Attest> = fc.oneof(
  fc.record({ type: fc.constant('certify' as const), ...head, name, qualifiedName: name }),
  fc.record({
    type: fc.constant('quote' as const),
    ...head,
    pcrSelection: fc.constantFrom(ATTESTED_PCRS, [], [{ bank: 'sha1' as const, pcrs: [0, 23] }]),
    pcrDigest: digest,
  }),
  fc.record({ type: fc.constant('creation' as const), ...head, objectName: name, creationHash: digest }),
  fc.record({
    type: fc.constant('nv' as const),
    ...head,
    indexName: name,
    offset: fc.integer({ min: 0, max: 65535 }),
    nvContents: fc.uint8Array({ maxLength: 2048 }),
  }),
  fc.record({
    type: fc.constant('command-audit' as const),
    ...head,
    auditCounter: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    digestAlg: fc.integer({ min: 0, max: 65535 }),
    auditDigest: digest,
    commandDigest: digest,
  }),
);

describe('TPMS_ATTEST', () => {
  vectors.attests.forEach((vector, index) => {
    it(`reads and verifies the ${vector.type} by ${vector.signer} (${index})`, () => {
      const octets = fromHex(vector.attest);
      const parsed = parseAttest(octets);
      const signer = objectNamed(vector.signer);
      const area = parsePublicArea(fromHex(signer.publicArea));
      const signature = fromHex(vector.signature);
      expect(parsed.type).toBe(vector.type);
      expect(toHex(serializeAttest(parsed))).toBe(vector.attest);
      expect(toHex(parsed.qualifiedSigner)).toBe(signer.qualifiedName);
      expect(verifyTpmSignature(area, octets, signature)).toBe(true);
      const changed = octets.slice();
      changed[20] = (changed[20] ?? 0) ^ 1;
      expect(verifyTpmSignature(area, changed, signature)).toBe(false);
      expectStrict(parseAttest, octets);
      expectStrict(parseSignature, signature);
      expect(toHex(serializeSignature(parseSignature(signature)))).toBe(vector.signature);
      const jose = signatureToJose(parseSignature(signature), area);
      expect(verifyTpmSignature(area, octets, serializeSignature(joseToSignature(jose, area)))).toBe(true);
    });
  });

  const ofType = <T extends Attest['type']>(type: T, signer: string): Attest & { readonly type: T } => {
    const vector = vectors.attests.find(
      (candidate) => candidate.type === type && candidate.signer === signer,
    );
    if (vector === undefined) throw new Error('no such vector');
    return parseAttest(fromHex(vector.attest)) as Attest & { readonly type: T };
  };

  it('says of a quote what tpm2_print says', () => {
    for (const vector of vectors.attests) {
      if (vector.printed === null) continue;
      const printed = (field: string): string | undefined =>
        new RegExp(`${field}: (\\S+)`).exec(vector.printed ?? '')?.[1];
      const quote = parseAttest(fromHex(vector.attest));
      expect(quote.type === 'quote' && toHex(quote.pcrDigest)).toBe(printed('pcrDigest'));
      expect(String(quote.clockInfo.clock)).toBe(printed('clock'));
      expect(String(quote.clockInfo.resetCount)).toBe(printed('resetCount'));
      expect(quote.clockInfo.safe ? '1' : '0').toBe(printed('safe'));
      const swapped = Buffer.alloc(8);
      swapped.writeBigUInt64LE(quote.firmwareVersion);
      expect(swapped.toString('hex')).toBe(printed('firmwareVersion'));
      expect(toHex(quote.extraData)).toBe(vectors.nonce);
    }
  });

  it('holds the Names of what was certified', () => {
    const certify = ofType('certify', 'AK');
    expect(toHex(certify.name)).toBe(objectNamed('key ES256').name);
    expect(toHex(certify.qualifiedName)).toBe(objectNamed('key ES256').qualifiedName);
    const creation = ofType('creation', 'AK');
    expect(toHex(creation.objectName)).toBe(objectNamed('key ES256').name);
    const nv = ofType('nv', 'AK');
    expect(toHex(nv.indexName)).toBe(vectors.nvName);
    expect(Buffer.from(nv.nvContents).readBigUInt64BE()).toBeGreaterThan(0n);
  });

  it('quotes the digest over the PCR values in selection order', () => {
    const quote = ofType('quote', 'AK');
    expect(quote.pcrSelection).toEqual(ATTESTED_PCRS);
    const values = Array.from({ length: 12 }, (_, index) =>
      fromHex(vectors.pcrValues).slice(index * 32, index * 32 + 32),
    );
    expect(toHex(pcrDigest('sha256', quote.pcrSelection, values))).toBe(toHex(quote.pcrDigest));
    expect(toHex(quote.pcrDigest)).toBe(
      createHash('sha256').update(fromHex(vectors.pcrValues)).digest('hex'),
    );
    expect(() => pcrDigest('sha256', quote.pcrSelection, values.slice(1))).toThrow(malformed);
  });

  it('serializes and parses anything to itself', () => {
    fc.assert(
      fc.property(attest, (value) => {
        expect(parseAttest(serializeAttest(value))).toEqual(value);
      }),
    );
  });

  it('refuses another magic, another type, and a safe flag that is neither YES nor NO', () => {
    const octets = fromHex(vectors.attests[0]?.attest ?? '');
    const changed = (offset: number, value: number): Uint8Array => {
      const copy = octets.slice();
      copy[offset] = value;
      return copy;
    };
    expect(() => parseAttest(changed(0, 0xfe))).toThrow(malformed);
    expect(() => parseAttest(changed(5, 0x1c))).toThrow(malformed);
    // After magic, type, qualifiedSigner (2 + 34), extraData (2 + 4): clock, resetCount, restartCount.
    const safe = 6 + 36 + 6 + 16;
    expect(octets[safe]).toBeLessThan(2);
    expect(() => parseAttest(changed(safe, 2))).toThrow(malformed);
  });
});

describe('TPMT_SIGNATURE', () => {
  const vector = vectors.attests[0];
  const octets = fromHex(vector?.attest ?? '');
  const signature = fromHex(vector?.signature ?? '');
  const ak = parsePublicArea(fromHex(objectNamed('AK').publicArea));
  const refused = expect.objectContaining({ code: 'signature_invalid' }) as unknown;

  it('takes the algorithm from the key: a signature that names another one is refused', () => {
    const sha384 = signature.slice();
    sha384[3] = 0x0c;
    expect(() => verifyTpmSignature(ak, octets, sha384)).toThrow(refused);
    const rsa = parsePublicArea(fromHex(objectNamed('AK RSASSA').publicArea));
    expect(() => verifyTpmSignature(rsa, octets, signature)).toThrow(refused);
    const pss = parsePublicArea(fromHex(objectNamed('AK RSAPSS').publicArea));
    const ssa = fromHex(vectors.attests[1]?.signature ?? '');
    expect(() => verifyTpmSignature(pss, octets, ssa)).toThrow(refused);
  });

  it('refuses an RSA key that does not say how it signs', () => {
    const ek = parsePublicArea(fromHex(objectNamed('EK L-1').publicArea));
    expect(() => verifyTpmSignature(ek, octets, signature)).toThrow(
      expect.objectContaining({ code: 'unsupported_algorithm' }) as unknown,
    );
  });

  it('left-pads r and s', () => {
    const jose = signatureToJose(
      { scheme: 'ecdsa', hash: 'sha256', r: Uint8Array.of(1), s: Uint8Array.of(2, 3) },
      ak,
    );
    expect(jose).toHaveLength(64);
    expect([jose[31], jose[62], jose[63]]).toEqual([1, 2, 3]);
    expect(jose.filter((octet) => octet === 0)).toHaveLength(61);
    expect(() => joseToSignature(jose.subarray(1), ak)).toThrow(refused);
  });

  it('refuses r of more octets than the curve has, and schemes that no key here has', () => {
    const long = serializeSignature({
      scheme: 'ecdsa',
      hash: 'sha256',
      r: new Uint8Array(33),
      s: new Uint8Array(32),
    });
    expect(() => verifyTpmSignature(ak, octets, long)).toThrow(malformed);
    const hmac = signature.slice();
    hmac[1] = 0x05;
    expect(() => parseSignature(hmac)).toThrow(malformed);
  });
});
