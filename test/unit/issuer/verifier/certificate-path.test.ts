import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { findPath, type PathInput } from '../../../../src/issuer/verifier/certificate-path.ts';
import { configuredRoot } from '../../../../src/issuer/verifier/endorsement-roots.ts';
import { parseRevocationList } from '../../../../src/issuer/verifier/revocation-list.ts';
import { der, derOctetString, derSequence, contextTag } from '../../../../src/wire/der.ts';
import { parseCertificate, type X509Fields } from '../../../../src/wire/x509.ts';
import {
  basicConstraintsOf,
  commonName,
  ecKeyPair,
  extendedKeyUsageOf,
  extension,
  keyUsageOf,
  mintCertificate,
  mintRevocationList,
  spkiOf,
  type CertificateTemplate,
  type KeyPair,
} from '../../../support/certificates.ts';
import { refusalOf } from '../../../support/refusal.ts';

const NOW = Date.UTC(2026, 0, 1) / 1000;
const DAY = 86_400;
const KEY_AGREEMENT = 4;
const KEY_CERT_SIGN = 5;
const CRL_SIGN = 6;

interface Authority {
  readonly name: Uint8Array;
  readonly keys: KeyPair;
  readonly encoded: Uint8Array;
}

function authority(
  name: string,
  by?: Authority,
  change: Partial<CertificateTemplate> = {},
  keys = ecKeyPair(),
): Authority {
  const subject = commonName(name);
  const encoded = mintCertificate({
    subject,
    issuer: by?.name ?? subject,
    spki: spkiOf(keys.publicKey),
    extensions: [basicConstraintsOf(true), keyUsageOf(KEY_CERT_SIGN, CRL_SIGN)],
    signer: by?.keys.privateKey ?? keys.privateKey,
    ...change,
  });
  return { name: subject, keys, encoded };
}

const ekKeys = ecKeyPair();

function leaf(by: Authority, change: Partial<CertificateTemplate> = {}): X509Fields {
  const encoded = mintCertificate({
    issuer: by.name,
    serial: 77,
    spki: spkiOf(ekKeys.publicKey),
    extensions: [basicConstraintsOf(false), keyUsageOf(KEY_AGREEMENT), extendedKeyUsageOf('2.23.133.8.1')],
    signer: by.keys.privateKey,
    ...change,
  });
  return parseCertificate(encoded);
}

const root = authority('Root');
const middle = authority('Middle', root);

function input(change: Partial<PathInput> = {}): PathInput {
  return {
    leaf: leaf(middle),
    intermediates: [parseCertificate(middle.encoded)],
    roots: [configuredRoot(root.encoded, 'Root')],
    revocationLists: [],
    nowSeconds: NOW,
    expiredLeaf: 'refuse',
    ...change,
  };
}

const refusal = (change: Partial<PathInput>): string => refusalOf(() => findPath(input(change)));
/** The refusal where the middle CA is made with `change`. */
const withMiddle = (change: Partial<CertificateTemplate>): string => {
  const other = authority('Middle', root, change);
  return refusal({ leaf: leaf(other), intermediates: [parseCertificate(other.encoded)] });
};

describe('check 4: path to a pinned root', () => {
  it('finds it, leaf first, root last', () => {
    const path = findPath(input());
    expect(path.root.name).toBe('Root');
    expect(path.certificates).toHaveLength(3);
    expect(Buffer.from(path.certificates[2]?.encoded ?? []).equals(root.encoded)).toBe(true);
  });

  it('finds it among strangers and a CA of the same name with another key', () => {
    const twin = authority('Middle', root);
    const stranger = authority('Stranger');
    const intermediates = [stranger, twin, middle].map(({ encoded }) => parseCertificate(encoded));
    expect(refusal({ intermediates })).toBe('accepted');
  });

  it('refuses a root of the same name that is not pinned, sent along by the host', () => {
    const impostor = authority('Root');
    const below = authority('Middle', impostor);
    const intermediates = [below, impostor].map(({ encoded }) => parseCertificate(encoded));
    expect(refusal({ leaf: leaf(below), intermediates })).toMatch(
      /^evidence_invalid: no path .*"Root" did not sign "Root"/,
    );
  });

  it('refuses a leaf that another leaf “issued”', () => {
    const notCa = authority('Middle', root, {
      extensions: [basicConstraintsOf(false), keyUsageOf(KEY_AGREEMENT)],
    });
    expect(refusal({ leaf: leaf(notCa), intermediates: [parseCertificate(notCa.encoded)] })).toMatch(
      /not a CA/,
    );
  });

  it.each([
    ['no basic constraints', [keyUsageOf(KEY_CERT_SIGN)], /not a CA/],
    ['no key usage', [basicConstraintsOf(true)], /keyCertSign/],
    ['key usage without keyCertSign', [basicConstraintsOf(true), keyUsageOf(CRL_SIGN)], /keyCertSign/],
    [
      'purposes without EK certificates',
      [basicConstraintsOf(true), keyUsageOf(KEY_CERT_SIGN), extendedKeyUsageOf('1.3.6.1.5.5.7.3.1')],
      /not for EK certificates/,
    ],
    [
      'a critical extension that is not understood',
      [basicConstraintsOf(true), keyUsageOf(KEY_CERT_SIGN), extension('2.5.29.30', derSequence(), true)],
      /critical extension 2\.5\.29\.30/,
    ],
  ])('refuses a CA with %s', (_name, extensions, reason) => {
    expect(withMiddle({ extensions })).toMatch(reason);
  });

  it('takes a CA whose purposes name EK certificates', () => {
    const extensions = [
      basicConstraintsOf(true),
      keyUsageOf(KEY_CERT_SIGN),
      extendedKeyUsageOf('2.23.133.8.1'),
    ];
    expect(withMiddle({ extensions })).toBe('accepted');
  });

  it('refuses an EK certificate with a critical extension that is not understood', () => {
    const extensions = [extension('1.2.3.4', derSequence(), true)];
    expect(refusal({ leaf: leaf(middle, { extensions }) })).toMatch(/^evidence_invalid: .*1\.2\.3\.4/);
  });

  it('honours path lengths', () => {
    const narrow = authority('Narrow', undefined, {
      extensions: [basicConstraintsOf(true, 0), keyUsageOf(KEY_CERT_SIGN)],
    });
    const below = authority('Below', narrow);
    const roots = [configuredRoot(narrow.encoded, 'Narrow')];
    expect(refusal({ leaf: leaf(narrow), roots, intermediates: [] })).toBe('accepted');
    expect(refusal({ leaf: leaf(below), roots, intermediates: [parseCertificate(below.encoded)] })).toMatch(
      /"Narrow" allows 0 CAs below it, the path has 1/,
    );
  });

  it('refuses paths that are too long, and ends where CAs certify each other', () => {
    const chain = [root];
    for (let depth = 0; depth < 6; depth++) chain.push(authority(`CA ${depth}`, chain.at(-1)));
    const intermediates = chain.slice(1).map(({ encoded }) => parseCertificate(encoded));
    expect(refusal({ leaf: leaf(chain.at(-1) ?? root), intermediates })).toMatch(/longer than 6/);

    const [a, b] = [ecKeyPair(), ecKeyPair()];
    const aByB = authority('A', { name: commonName('B'), keys: b, encoded: root.encoded }, {}, a);
    const bByA = authority('B', { name: commonName('A'), keys: a, encoded: root.encoded }, {}, b);
    const loop = [aByB, bByA].map(({ encoded }) => parseCertificate(encoded));
    expect(refusal({ leaf: leaf(aByB), intermediates: loop })).toMatch(/^evidence_invalid: no path/);
  });

  it('bounds the signatures that a host can make it verify', () => {
    const twins = Array.from({ length: 40 }, () => parseCertificate(authority('Middle', root).encoded));
    const intermediates = [...twins, parseCertificate(middle.encoded)];
    expect(refusal({ intermediates })).toMatch(/^evidence_invalid: no path/);
  });

  it('refuses key identifiers that do not fit', () => {
    const identifier = (octets: string): Uint8Array =>
      extension('2.5.29.14', derOctetString(Buffer.from(octets)));
    const keyId = (octets: string): Uint8Array =>
      extension('2.5.29.35', derSequence(der(contextTag(0, false), Buffer.from(octets))));
    const ca = authority('Middle', root, {
      extensions: [basicConstraintsOf(true), keyUsageOf(KEY_CERT_SIGN), identifier('aaaa')],
    });
    const intermediates = [parseCertificate(ca.encoded)];
    expect(refusal({ leaf: leaf(ca, { extensions: [keyId('aaaa')] }), intermediates })).toBe('accepted');
    expect(refusal({ leaf: leaf(ca, { extensions: [keyId('bbbb')] }), intermediates })).toMatch(
      /key identifier/,
    );
  });

  it('judges validity: CAs always, the leaf by policy, never before its time', () => {
    const past = { notBeforeSeconds: NOW - 2 * DAY, notAfterSeconds: NOW - DAY };
    const future = { notBeforeSeconds: NOW + DAY, notAfterSeconds: NOW + 2 * DAY };
    expect(withMiddle(past)).toMatch(/"Middle" expired on 2025-12-31/);
    expect(withMiddle(future)).toMatch(/not valid before 2026-01-02/);
    expect(refusal({ leaf: leaf(middle, past) })).toMatch(/^appraisal_denied: the EK certificate expired/);
    expect(refusal({ leaf: leaf(middle, past), expiredLeaf: 'accept' })).toBe('accepted');
    expect(refusal({ leaf: leaf(middle, future), expiredLeaf: 'accept' })).toMatch(
      /^appraisal_denied: .*not valid before/,
    );
  });

  it('refuses weak RSA keys', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const ca = authority('Weak', root, {}, weak);
    const signed = { ...ca, keys: ecKeyPair() };
    expect(refusal({ leaf: leaf(signed), intermediates: [parseCertificate(ca.encoded)] })).toMatch(
      /below 2048 bits/,
    );
  });
});

describe('check 4: revocation', () => {
  const list = (by: Authority, serials: readonly number[], change = {}) =>
    parseRevocationList(
      mintRevocationList({
        issuer: by.name,
        serials,
        signer: by.keys.privateKey,
        thisUpdateSeconds: NOW - DAY,
        nextUpdateSeconds: NOW + DAY,
        ...change,
      }),
    );

  it('refuses a revoked EK certificate and a revoked CA', () => {
    expect(refusal({ revocationLists: [list(middle, [])] })).toBe('accepted');
    expect(refusal({ revocationLists: [list(middle, [76, 77])] })).toMatch(
      /"Middle" has revoked the certificate 4d/,
    );
    expect(refusal({ revocationLists: [list(root, [1])] })).toMatch(/"Root" has revoked "Middle"/);
  });

  it('refuses to go by a list that is out of date only', () => {
    const stale = list(middle, [], { nextUpdateSeconds: NOW - 1 });
    expect(refusal({ revocationLists: [stale] })).toMatch(/out of date/);
    expect(refusal({ revocationLists: [stale, list(middle, [])] })).toBe('accepted');
    expect(refusal({ revocationLists: [list(middle, [77], { nextUpdateSeconds: NOW - 1 })] })).toMatch(
      /has revoked/,
    );
  });

  it('takes no list from a key that may not sign lists, and none by another key', () => {
    const ca = authority('Middle', root, {
      extensions: [basicConstraintsOf(true), keyUsageOf(KEY_CERT_SIGN)],
    });
    const change = { leaf: leaf(ca), intermediates: [parseCertificate(ca.encoded)] };
    expect(refusal({ ...change, revocationLists: [list(ca, [])] })).toMatch(/cRLSign/);
    const impostor = { ...middle, keys: ecKeyPair() };
    expect(refusal({ revocationLists: [list(impostor, [77])] })).toBe('accepted');
  });

  it('refuses lists that are partial, cut at any offset, or followed by something', () => {
    const template = {
      issuer: middle.name,
      serials: [1],
      signer: middle.keys.privateKey,
      thisUpdateSeconds: NOW,
    };
    const whole = mintRevocationList(template);
    for (let length = 0; length < whole.length; length++) {
      expect(refusalOf(() => parseRevocationList(whole.subarray(0, length)))).toMatch(/^malformed_structure/);
    }
    expect(refusalOf(() => parseRevocationList(Buffer.concat([whole, Buffer.from([0])])))).toMatch(
      /trailing/,
    );
    const partial = (oid: string): string =>
      refusalOf(() =>
        parseRevocationList(
          mintRevocationList({ ...template, extensions: [extension(oid, derSequence(), true)] }),
        ),
      );
    expect(partial('2.5.29.27')).toMatch(/critical extension 2\.5\.29\.27/);
    expect(partial('2.5.29.28')).toMatch(/critical extension 2\.5\.29\.28/);
  });
});
