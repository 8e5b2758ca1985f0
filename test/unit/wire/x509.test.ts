import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  contextTag,
  der,
  DER_TAG,
  derBoolean,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  DerReader,
} from '../../../src/wire/der.ts';
import { certificatePublicKey, parseCertificate, readName, readTime } from '../../../src/wire/x509.ts';
import {
  authorityKeyIdentifier,
  basicConstraints,
  directoryNames,
  extendedKeyUsage,
  hasKeyUsage,
  subjectKeyIdentifier,
} from '../../../src/wire/x509-extensions.ts';
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
} from '../../support/certificates.ts';
import { refusalOf } from '../../support/refusal.ts';

const keys = ecKeyPair();
const minted = mintCertificate({
  subject: commonName('leaf'),
  issuer: commonName('issuer'),
  serial: 4711,
  spki: spkiOf(keys.publicKey),
  extensions: [
    basicConstraintsOf(true, 3),
    keyUsageOf(0, 5),
    extendedKeyUsageOf('2.23.133.8.1', '1.3.6.1.5.5.7.3.2'),
    extension('2.5.29.14', derOctetString(Uint8Array.of(1, 2, 3))),
    extension('2.5.29.35', derSequence(der(contextTag(0, false), Uint8Array.of(4, 5)))),
    directoryNameOf({ '2.23.133.2.2': 'chip' }),
  ],
  signer: keys.privateKey,
  notBeforeSeconds: Date.UTC(2024, 1, 29, 12, 30, 15) / 1000,
});

describe('X.509 fields', () => {
  it('are those that OpenSSL reads', () => {
    const ours = parseCertificate(minted);
    const theirs = new X509Certificate(minted);
    expect(ours.serialNumber).toBe('1267');
    expect(theirs.serialNumber).toBe('1267');
    expect(ours.notBeforeSeconds * 1000).toBe(theirs.validFromDate.getTime());
    expect(ours.notAfterSeconds * 1000).toBe(theirs.validToDate.getTime());
    expect(certificatePublicKey(ours).equals(theirs.publicKey)).toBe(true);
    expect(theirs.subject).toBe('CN=leaf');
    expect(readName(ours.subject)).toEqual([{ type: '2.5.4.3', value: 'leaf' }]);
    expect(readName(ours.issuer)).toEqual([{ type: '2.5.4.3', value: 'issuer' }]);
    expect(theirs.ca).toBe(true);
    expect(basicConstraints(ours)).toEqual({ ca: true, pathLength: 3 });
    expect(theirs.keyUsage).toEqual(extendedKeyUsage(ours));
    expect(hasKeyUsage(ours, 'digitalSignature')).toBe(true);
    expect(hasKeyUsage(ours, 'keyCertSign')).toBe(true);
    expect(hasKeyUsage(ours, 'cRLSign')).toBe(false);
    expect(subjectKeyIdentifier(ours)).toBe('010203');
    expect(authorityKeyIdentifier(ours)).toBe('0405');
    expect(directoryNames(ours).map((name) => readName(name))).toEqual([
      [{ type: '2.23.133.2.2', value: 'chip' }],
    ]);
  });

  it('say of an extension that is absent that it is absent', () => {
    const bare = parseCertificate(
      mintCertificate({
        issuer: commonName('i'),
        spki: spkiOf(keys.publicKey),
        extensions: [],
        signer: keys.privateKey,
      }),
    );
    expect(basicConstraints(bare)).toBeUndefined();
    expect(hasKeyUsage(bare, 'keyCertSign')).toBeUndefined();
    expect(extendedKeyUsage(bare)).toBeUndefined();
    expect(subjectKeyIdentifier(bare)).toBeUndefined();
    expect(authorityKeyIdentifier(bare)).toBeUndefined();
    expect(directoryNames(bare)).toEqual([]);
  });

  it('refuse a truncation at every offset and a trailing octet', () => {
    for (let length = 0; length < minted.length; length++) {
      expect(refusalOf(() => parseCertificate(minted.subarray(0, length)))).toMatch(/^malformed_structure/);
    }
    expect(refusalOf(() => parseCertificate(Buffer.concat([minted, Buffer.from([0])])))).toMatch(/trailing/);
  });

  it('refuse an extension that comes twice, and one with octets after its value', () => {
    const mint = (...extensions: Uint8Array[]): Uint8Array =>
      mintCertificate({
        issuer: commonName('i'),
        spki: spkiOf(keys.publicKey),
        extensions,
        signer: keys.privateKey,
      });
    const twice = mint(basicConstraintsOf(false), basicConstraintsOf(true));
    expect(refusalOf(() => parseCertificate(twice))).toMatch(/^malformed_structure: .*2\.5\.29\.19 twice/);
    const long = mint(
      extension('2.5.29.19', Buffer.concat([derSequence(derBoolean(true)), Buffer.from([0])])),
    );
    expect(refusalOf(() => basicConstraints(parseCertificate(long)))).toMatch(
      /^malformed_structure: .*trailing/,
    );
  });

  it('refuse two signature algorithms that differ, and a version below 3', () => {
    const outer = new DerReader(minted, 'certificate').sequence();
    const tbs = outer.element().encoded;
    outer.element();
    const signature = outer.element().encoded;
    const sha384 = derSequence(derOid('1.2.840.10045.4.3.3'));
    expect(refusalOf(() => parseCertificate(derSequence(tbs, sha384, signature)))).toMatch(
      /two signature algorithms/,
    );
    const old = Buffer.from(minted);
    const version = Buffer.from(minted).indexOf(der(contextTag(0), derInteger(2)));
    old[version + 4] = 1;
    expect(refusalOf(() => parseCertificate(old))).toMatch(/not version 3/);
  });
});

describe('X.509 times', () => {
  const read = (tag: number, text: string): number =>
    readTime(new DerReader(der(tag, Buffer.from(text)), 'time'));

  it('are UTCTime from 1950 to 2049 and GeneralizedTime', () => {
    expect(read(DER_TAG.utcTime, '491231235959Z')).toBe(Date.UTC(2049, 11, 31, 23, 59, 59) / 1000);
    expect(read(DER_TAG.utcTime, '500101000000Z')).toBe(Date.UTC(1950, 0, 1) / 1000);
    expect(read(DER_TAG.generalizedTime, '99991231235959Z')).toBe(Date.UTC(9999, 11, 31, 23, 59, 59) / 1000);
  });

  it.each([
    [DER_TAG.utcTime, '4912312359Z'],
    [DER_TAG.utcTime, '491231235959+0000'],
    [DER_TAG.utcTime, '20491231235959Z'],
    [DER_TAG.utcTime, '491331235959Z'],
    [DER_TAG.utcTime, '490231235959Z'],
    [DER_TAG.utcTime, '491231245959Z'],
    [DER_TAG.generalizedTime, '491231235959Z'],
    [DER_TAG.generalizedTime, '20491231235959.5Z'],
    [DER_TAG.utf8String, '491231235959Z'],
  ])('refuse tag %i %s', (tag, text) => {
    expect(refusalOf(() => read(tag, text))).toMatch(/^malformed_structure/);
  });
});
