import { describe, expect, it } from 'vitest';
import {
  configuredRoot,
  importRoots,
  readPemBundle,
} from '../../../../src/issuer/verifier/endorsement-roots.ts';
import { PINNED_ROOTS } from '../../../../src/issuer/verifier/vendor-roots.ts';
import {
  basicConstraintsOf,
  commonName,
  ecKeyPair,
  mintCertificate,
  spkiOf,
} from '../../../support/certificates.ts';
import { refusalOf } from '../../../support/refusal.ts';

const keys = ecKeyPair();
const name = commonName('Infineon OPTIGA(TM) ECC Root CA');
const lookalike = mintCertificate({
  subject: name,
  issuer: name,
  spki: spkiOf(keys.publicKey),
  extensions: [basicConstraintsOf(true)],
  signer: keys.privateKey,
});

function pem(encoded: Uint8Array): string {
  const lines = Buffer.from(encoded).toString('base64').replace(/.{64}/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

describe('pinned roots', () => {
  it('are unique, whole SHA-256 fingerprints', () => {
    const fingerprints = PINNED_ROOTS.map(({ sha256 }) => sha256);
    expect(new Set(fingerprints).size).toBe(PINNED_ROOTS.length);
    for (const sha256 of fingerprints) expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('keep out a certificate that only has a vendor’s name', () => {
    const { roots, refused } = importRoots(`# a comment\n${pem(lookalike)}`);
    expect(roots).toEqual([]);
    expect(refused).toHaveLength(1);
  });

  it('make of a configured root a test root, whatever it calls itself', () => {
    expect(configuredRoot(lookalike, 'Infineon')).toMatchObject({ kind: 'test', name: 'Infineon' });
  });
});

describe('PEM bundles', () => {
  it('are read with text between the certificates', () => {
    const bundle = `one\n${pem(lookalike)}two\n${pem(lookalike)}`;
    expect(readPemBundle(bundle).map((der) => Buffer.from(der).equals(lookalike))).toEqual([true, true]);
  });

  it.each([
    ['nothing', ''],
    ['no certificate', 'hello'],
    ['a key', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'],
    ['a certificate without end', pem(lookalike).replace(/-----END.*/, '')],
    ['a second one that is cut', pem(lookalike) + pem(lookalike).slice(0, 90)],
    ['octets that are no base64', pem(lookalike).replace('MII', 'M*I')],
    ['too much', pem(lookalike) + 'x'.repeat(4 * 1024 * 1024)],
  ])('are refused with %s', (_what, bundle) => {
    expect(refusalOf(() => readPemBundle(bundle))).toMatch(/^configuration_invalid/);
  });
});
