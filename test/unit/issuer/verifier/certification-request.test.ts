import { generateKeyPairSync, sign, constants, type KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  isSelfSigned,
  parseCertificationRequest,
} from '../../../../src/issuer/verifier/certification-request.ts';
import { contextTag, der, derInteger, derNull, derOid, derSequence } from '../../../../src/wire/der.ts';
import { csrInfo, csrOf, ecKeyPair, makeSoftwareCsr, spkiOf } from '../../../support/certificates.ts';
import { refusalOf } from '../../../support/refusal.ts';

const ECDSA_SHA256 = derSequence(derOid('1.2.840.10045.4.3.2'));
const SHA256 = derSequence(derOid('2.16.840.1.101.3.4.2.1'), derNull());

function pss(saltOctets: number, hash = SHA256): Uint8Array {
  const mgf1 = derSequence(derOid('1.2.840.113549.1.1.8'), hash);
  const parameters = derSequence(
    der(contextTag(0), hash),
    der(contextTag(1), mgf1),
    der(contextTag(2), derInteger(saltOctets)),
  );
  return derSequence(derOid('1.2.840.113549.1.1.10'), parameters);
}

const verdict = (csr: Uint8Array): boolean => isSelfSigned(parseCertificationRequest(csr));

describe('CSR as proof of possession', () => {
  it.each([
    ['P-256', 'sha256', '1.2.840.10045.4.3.2'],
    ['P-384', 'sha384', '1.2.840.10045.4.3.3'],
  ])('verifies %s with %s', (curve, hash, oid) => {
    const { publicKey, privateKey } = ecKeyPair(curve);
    const info = csrInfo(spkiOf(publicKey));
    const algorithm = derSequence(derOid(oid));
    expect(verdict(csrOf(info, algorithm, sign(hash, info, privateKey)))).toBe(true);
    expect(verdict(csrOf(info, algorithm, sign('sha512', info, privateKey)))).toBe(false);
    expect(verdict(csrOf(info, derSequence(derOid(oid), derNull()), sign(hash, info, privateKey)))).toBe(
      false,
    );
  });

  it('verifies Ed25519', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const info = csrInfo(spkiOf(publicKey));
    const algorithm = derSequence(derOid('1.3.101.112'));
    expect(verdict(csrOf(info, algorithm, sign(null, info, privateKey)))).toBe(true);
    expect(verdict(csrOf(info, ECDSA_SHA256, sign(null, info, privateKey)))).toBe(false);
  });

  it('verifies RSA with PKCS #1 and with PSS as PS256 has it, no other salt', () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const info = csrInfo(spkiOf(publicKey));
    const pkcs1 = derSequence(derOid('1.2.840.113549.1.1.11'), derNull());
    const signPss = (key: KeyObject, saltLength: number): Uint8Array =>
      sign('sha256', info, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
    expect(verdict(csrOf(info, pkcs1, sign('sha256', info, privateKey)))).toBe(true);
    expect(verdict(csrOf(info, pss(32), signPss(privateKey, 32)))).toBe(true);
    expect(
      verdict(csrOf(info, pss(32, derSequence(derOid('2.16.840.1.101.3.4.2.1'))), signPss(privateKey, 32))),
    ).toBe(true);
    expect(verdict(csrOf(info, pss(20), signPss(privateKey, 20)))).toBe(false);
    expect(verdict(csrOf(info, pss(32), signPss(privateKey, 20)))).toBe(false);
    expect(verdict(csrOf(info, pss(32), sign('sha256', info, privateKey)))).toBe(false);
  });

  it('does not take SHA-1 or MD5', () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const info = csrInfo(spkiOf(publicKey));
    const sha1 = derSequence(derOid('1.2.840.113549.1.1.5'), derNull());
    expect(verdict(csrOf(info, sha1, sign('sha1', info, privateKey)))).toBe(false);
    const ec = ecKeyPair();
    const ecInfo = csrInfo(spkiOf(ec.publicKey));
    const ecdsaSha1 = derSequence(derOid('1.2.840.10045.4.1'));
    expect(verdict(csrOf(ecInfo, ecdsaSha1, sign('sha1', ecInfo, ec.privateKey)))).toBe(false);
  });

  it('notices one changed octet anywhere', () => {
    const csr = makeSoftwareCsr(ecKeyPair());
    for (let at = 0; at < csr.length; at++) {
      const changed = Uint8Array.from(csr, (octet, index) => (index === at ? octet ^ 1 : octet));
      let accepted = false;
      const refusal = refusalOf(() => {
        accepted = verdict(changed);
      });
      expect(accepted, `octet ${at}: ${refusal}`).toBe(false);
    }
  });

  it('refuses a truncation at every offset, a trailing octet and another version', () => {
    const keys = ecKeyPair();
    const csr = makeSoftwareCsr(keys);
    for (let length = 0; length < csr.length; length++) {
      expect(refusalOf(() => verdict(csr.subarray(0, length)))).toMatch(/^malformed_structure: CSR/);
    }
    expect(refusalOf(() => verdict(Buffer.concat([csr, Buffer.from([0])])))).toMatch(
      /^malformed_structure: CSR/,
    );
    const info = derSequence(derInteger(1), derSequence(), spkiOf(keys.publicKey), der(contextTag(0)));
    const other = csrOf(info, ECDSA_SHA256, sign('sha256', info, keys.privateKey));
    expect(refusalOf(() => verdict(other))).toMatch(/^malformed_structure: CSR/);
  });
});
