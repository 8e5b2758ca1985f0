import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { trimNvCertificate } from '../../../../src/wire/tpm/nv-certificate.ts';
import { describe, expect, it } from 'vitest';
import { Appraisal } from '../../../../src/issuer/verifier/checks.ts';
import {
  checkEkProfile,
  parseEkCertificate,
  type TpmModel,
} from '../../../../src/issuer/verifier/ek-certificate.ts';
import { isRocaWeak } from '../../../../src/issuer/verifier/weak-rsa.ts';
import {
  derBitString,
  derInteger,
  derNull,
  derOid,
  derSequence,
  derSetOf,
  derUtf8String,
  readWhole,
} from '../../../../src/wire/der.ts';
import {
  basicConstraintsOf,
  commonName,
  directoryNameOf,
  ecKeyPair,
  extendedKeyUsageOf,
  extension,
  keyUsageOf,
  mintCertificate,
  spkiOf,
  tpmSpecificationOf,
} from '../../../support/certificates.ts';
import { refusalOf } from '../../../support/refusal.ts';

const ca = ecKeyPair();
const ek = ecKeyPair();
const KEY_AGREEMENT = 4;
const KEY_ENCIPHERMENT = 2;
const KEY_CERT_SIGN = 5;

const SAN = { '2.23.133.2.1': 'id:56454e44', '2.23.133.2.2': 'CHIP', '2.23.133.2.3': 'id:0001' };

/** The parts of a good EK certificate; tests leave one out or put another in its place. */
const parts = {
  constraints: basicConstraintsOf(false),
  usage: keyUsageOf(KEY_AGREEMENT),
  purpose: extendedKeyUsageOf('2.23.133.8.1'),
  names: directoryNameOf(SAN),
  specification: tpmSpecificationOf('2.0', 0, 138),
};

function mint(
  change: Partial<Record<keyof typeof parts, Uint8Array | undefined>> = {},
  key: KeyObject = ek.publicKey,
) {
  const extensions = Object.values({ ...parts, ...change }).filter((part) => part !== undefined);
  return mintCertificate({ issuer: commonName('CA'), spki: spkiOf(key), extensions, signer: ca.privateKey });
}

function profile(
  certificate: Uint8Array,
  denied: { manufacturer: string; model?: string; reason: string }[] = [],
) {
  const appraisal = new Appraisal();
  const parsed = appraisal.check(3, () => parseEkCertificate(certificate));
  return appraisal.check(5, (verdict): TpmModel =>
    checkEkProfile(parsed, { minimumRevision: 116, denied }, verdict),
  );
}

const refusal = (change: Parameters<typeof mint>[0], key?: KeyObject): string =>
  refusalOf(() => profile(mint(change, key)));

describe('check 5: what makes a certificate one for an EK', () => {
  it('reads manufacturer, model, version and specification', () => {
    expect(profile(mint())).toEqual({
      manufacturer: 'id:56454E44',
      model: 'CHIP',
      version: 'id:0001',
      family: '2.0',
      level: 0,
      revision: 138,
    });
  });

  it('takes RSA keys with keyEncipherment, EC keys with keyAgreement, not the other way round', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    expect(refusal({ usage: keyUsageOf(KEY_ENCIPHERMENT) }, publicKey)).toBe('accepted');
    expect(refusal({ usage: keyUsageOf(KEY_AGREEMENT) }, publicKey)).toMatch(/check 5 .*keyEncipherment/);
    expect(refusal({ usage: keyUsageOf(KEY_ENCIPHERMENT) })).toMatch(/check 5 .*keyAgreement/);
  });

  it.each([
    ['a CA', { constraints: basicConstraintsOf(true) }, /evidence_invalid: check 5 .*certificate of a CA/],
    ['no purpose', { purpose: undefined }, /evidence_invalid: check 5 .*2\.23\.133\.8\.1 is missing/],
    ['any purpose', { purpose: extendedKeyUsageOf('2.5.29.37.0') }, /evidence_invalid: check 5 .*is missing/],
    [
      'an AK’s purpose',
      { purpose: extendedKeyUsageOf('2.23.133.8.3') },
      /evidence_invalid: check 5 .*missing/,
    ],
    [
      'a server’s purpose',
      { purpose: extendedKeyUsageOf('1.3.6.1.5.5.7.3.1') },
      /evidence_invalid: check 5 .*missing/,
    ],
    ['no key usage', { usage: undefined }, /evidence_invalid: check 5 .*keyAgreement/],
    [
      'keyCertSign',
      { usage: keyUsageOf(KEY_AGREEMENT, KEY_CERT_SIGN) },
      /evidence_invalid: check 5 .*sign certificates/,
    ],
    ['no TPM name', { names: undefined }, /evidence_invalid: check 5 .*not one TPM manufacturer/],
    [
      'no model',
      { names: directoryNameOf({ '2.23.133.2.1': 'id:56454E44' }) },
      /evidence_invalid: check 5 .*TPM model/,
    ],
    [
      'a manufacturer that is none',
      { names: directoryNameOf({ ...SAN, '2.23.133.2.1': 'ACME' }) },
      /evidence_invalid: check 5 .*no TCG vendor id/,
    ],
    ['no specification', { specification: undefined }, /evidence_invalid: check 5 .*specification/],
    ['TPM 1.2', { specification: tpmSpecificationOf('1.2', 2, 116) }, /appraisal_denied: check 5 .*"1\.2"/],
    [
      'an old revision',
      { specification: tpmSpecificationOf('2.0', 0, 115) },
      /appraisal_denied: check 5 .*115/,
    ],
  ])('refuses %s', (_name, change, reason) => {
    expect(refusal(change)).toMatch(reason);
  });

  it('refuses two models and two specifications: which one counts?', () => {
    const twice = mintCertificate({
      issuer: commonName('CA'),
      spki: spkiOf(ek.publicKey),
      extensions: [...Object.values(parts), tpmSpecificationOf('2.0', 0, 138)],
      signer: ca.privateKey,
    });
    expect(refusalOf(() => profile(twice))).toMatch(/^evidence_invalid: check 3 .*twice/);
    const specification = (revision: number): Uint8Array =>
      derSequence(
        derOid('2.23.133.2.16'),
        derSetOf(derSequence(derUtf8String('2.0'), derInteger(0), derInteger(revision))),
      );
    const both = derSequence(specification(99), specification(138));
    expect(refusal({ specification: extension('2.5.29.9', both) })).toMatch(
      /check 5 .*two TPM specifications/,
    );
    const value = derSequence(derOid('2.23.133.2.16'));
    expect(refusal({ specification: extension('2.5.29.9', derSequence(value)) })).toMatch(
      /check 5 .*truncated/,
    );
  });

  it('refuses a model on the deny-list, and only that', () => {
    const denied = (entry: { manufacturer: string; model?: string }) =>
      refusalOf(() => profile(mint(), [{ ...entry, reason: 'known weak' }]));
    expect(denied({ manufacturer: 'id:56454E44' })).toMatch(/^appraisal_denied: check 5 .*known weak/);
    expect(denied({ manufacturer: 'id:56454E44', model: 'CHIP' })).toMatch(/^appraisal_denied: check 5 /);
    expect(denied({ manufacturer: 'id:56454E44', model: 'OTHER' })).toBe('accepted');
    expect(denied({ manufacturer: 'id:00000000', model: 'CHIP' })).toBe('accepted');
  });
});

describe('check 3: what a chip has in NV', () => {
  const certificate = mint();
  const header = (size: number, change: Partial<Record<number, number>> = {}): Uint8Array => {
    const octets = Uint8Array.of(0x10, 0x01, 0x00, (size + 2) >> 8, (size + 2) & 0xff, 0x10, 0x02);
    for (const [at, octet] of Object.entries(change)) octets[Number(at)] = octet ?? 0;
    return octets;
  };
  const join = (...octets: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(octets));

  it('drops the TCG header and the padding', () => {
    const framed = [
      certificate,
      join(certificate, new Uint8Array(100)),
      join(certificate, new Uint8Array(100).fill(0xff)),
      join(header(certificate.length), certificate),
      join(header(certificate.length), certificate, new Uint8Array(9).fill(0xff)),
    ];
    for (const stored of framed)
      expect(Buffer.from(trimNvCertificate(stored)).equals(certificate)).toBe(true);
  });

  it('refuses a damaged header and octets that are no padding', () => {
    const size = certificate.length;
    const damaged = [
      join(header(size, { 2: 1 }), certificate),
      join(header(size, { 5: 0 }), certificate),
      join(header(size + 1), certificate),
      join(header(size - 1), certificate),
      join(header(size), certificate, Uint8Array.of(1)),
      join(certificate, Uint8Array.of(0, 0, 0xff)),
      join(certificate, Uint8Array.of(1, 1)),
      join(certificate, certificate),
      header(0),
      header(-2),
    ];
    for (const stored of damaged) {
      expect(refusalOf(() => parseEkCertificate(stored))).toMatch(/^malformed_structure: EK certificate/);
    }
  });

  it('refuses a certificate cut at any offset, with header and without', () => {
    const framed = join(header(certificate.length), certificate);
    for (let length = 0; length < certificate.length; length++) {
      expect(refusalOf(() => parseEkCertificate(certificate.subarray(0, length)))).toMatch(
        /^malformed_structure/,
      );
    }
    for (let length = 0; length < framed.length; length++) {
      expect(refusalOf(() => parseEkCertificate(framed.subarray(0, length)))).toMatch(/^malformed_structure/);
    }
  });

  it('refuses the RSAES-OAEP keys of TPM 1.2, which OpenSSL can not read either', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const bits = readWhole(spkiOf(publicKey), 'SPKI', (reader) => {
      const spki = reader.sequence();
      spki.sequence();
      return spki.bitString().octets;
    });
    const oaep = derSequence(derSequence(derOid('1.2.840.113549.1.1.7'), derNull()), derBitString(bits));
    const old = mintCertificate({
      issuer: commonName('CA'),
      spki: oaep,
      extensions: Object.values(parts),
      signer: ca.privateKey,
    });
    expect(refusalOf(() => parseEkCertificate(old))).toBe(
      'malformed_structure: EK certificate has an RSAES-OAEP key, as TPM 1.2 certificates have',
    );
  });

  it('refuses keys of another kind, and points off their curve', () => {
    const { publicKey } = generateKeyPairSync('x25519');
    expect(refusalOf(() => parseEkCertificate(mint({}, publicKey)))).toMatch(
      /1\.3\.101\.110, which is not supported/,
    );
    const spki = Uint8Array.from(spkiOf(ek.publicKey));
    spki[spki.length - 1] = (spki.at(-1) ?? 0) ^ 1;
    const broken = mintCertificate({
      issuer: commonName('CA'),
      spki,
      extensions: Object.values(parts),
      signer: ca.privateKey,
    });
    expect(refusalOf(() => parseEkCertificate(broken))).toMatch(/can not be read/);
  });

  it('refuses curves that no EK template has', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'brainpoolP256r1' });
    expect(refusalOf(() => parseEkCertificate(mint({}, publicKey)))).toMatch(/kind brainpoolP256r1/);
    const edwards = generateKeyPairSync('ed25519');
    expect(refusalOf(() => parseEkCertificate(mint({}, edwards.publicKey)))).toMatch(/kind ed25519/);
  });

  it('answers any octets with a certificate or with malformed_structure', () => {
    const spliced = fc.record({
      at: fc.nat({ max: certificate.length }),
      remove: fc.nat({ max: 40 }),
      insert: fc.uint8Array({ maxLength: 40 }),
    });
    fc.assert(
      fc.property(spliced, ({ at, remove, insert }) => {
        const changed = join(certificate.subarray(0, at), insert, certificate.subarray(at + remove));
        const refusal = refusalOf(() => parseEkCertificate(changed));
        expect(refusal === 'accepted' || refusal.startsWith('malformed_structure: ')).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe('check 5: keys that can be computed (ROCA)', () => {
  /** A modulus with the structure of CVE-2017-15361; whether its factors are prime does not matter here. */
  function rocaKey(): KeyObject {
    const primes = Array.from({ length: 700 }, (_, index) => index + 2).filter((candidate) =>
      Array.from({ length: candidate - 2 }, (_, index) => index + 2).every(
        (divisor) => candidate % divisor !== 0,
      ),
    );
    const m = primes.reduce((product, prime) => product * BigInt(prime), 1n);
    const factor = (exponent: number): bigint => {
      let power = 1n;
      for (let step = 0; step < exponent; step++) power = (power * 65537n) % m;
      return (1n << 1023n) - ((1n << 1023n) % m) + m + power;
    };
    const n = (factor(1234) * factor(777)).toString(16).padStart(512, '0');
    const jwk = { kty: 'RSA', n: Buffer.from(n, 'hex').toString('base64url'), e: 'AQAB' };
    return createPublicKey({ key: jwk, format: 'jwk' });
  }

  it('refuses them, whoever certified them', () => {
    const usage = keyUsageOf(KEY_ENCIPHERMENT);
    const weak = rocaKey();
    expect(isRocaWeak(weak)).toBe(true);
    expect(refusal({ usage }, weak)).toMatch(/^evidence_invalid: check 5 .*CVE-2017-15361/);
  });

  it('takes sound keys', () => {
    for (let round = 0; round < 3; round++) {
      const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      expect(isRocaWeak(publicKey)).toBe(false);
    }
    expect(isRocaWeak(ek.publicKey)).toBe(false);
  });
});
