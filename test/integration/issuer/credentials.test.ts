/** Credential profiles, signed by SoftHSM and read by openssl, jose and node:crypto. */
import { execFile } from 'node:child_process';
import { randomUUID, X509Certificate } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { decodeJwt, importJWK, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Pkcs11Backend } from '../../../src/backend/pkcs11/pkcs11-backend.ts';
import {
  CertificateAuthority,
  type LeafRequest,
} from '../../../src/issuer/credentials/certificate-authority.ts';
import { issueAgentToken, issueWit } from '../../../src/issuer/credentials/tokens.ts';
import {
  certificatePem,
  EMPTY_NAME,
  signCertificate,
} from '../../../src/issuer/credentials/x509-certificate.ts';
import {
  authorityKeyIdentifierExtension,
  basicConstraintsExtension,
  extendedKeyUsageExtension,
  keyIdentifier,
  keyUsageExtension,
  subjectKeyIdentifierExtension,
  uriSanExtension,
} from '../../../src/issuer/credentials/x509-extension.ts';
import { ISSUER_KEY_PURPOSES, SigningKeys } from '../../../src/issuer/signing-keys.ts';
import { openIssuerStore, type IssuerStore } from '../../../src/issuer/store/issuer-store.ts';
import type { Algorithm } from '../../../src/wire/algorithms.ts';
import {
  DEVELOPMENT_POLICY_OID,
  LEVEL_POLICY_OID,
  TPM_FIXED_OID,
  TPM_RESIDENCY_OID,
  VIRTUAL_TPM_POLICY_OID,
} from '../../../src/wire/issuance/credential-profile.ts';
import { jwkThumbprint } from '../../../src/wire/jwk.ts';
import { publicKeyObject } from '../../../src/wire/public-key.ts';
import { parseCertificate } from '../../../src/wire/x509.ts';
import { extension } from '../../support/certificates.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { testKey } from '../../support/signed-request.ts';
import { makeSofthsm, type TestSofthsm } from '../../support/softhsm.ts';

const run = promisify(execFile);
const TRUST_DOMAIN = 'agents.example';
const NOW = Math.floor(Date.now() / 1000);

let token: TestSofthsm;
let backend: Pkcs11Backend;
let store: IssuerStore;
let keys: SigningKeys;
let authority: CertificateAuthority;

beforeAll(async () => {
  token = await makeSofthsm();
  backend = await token.open();
  store = openIssuerStore(token.dir);
  await SigningKeys.initialise(backend, store.keys, NOW);
  keys = await SigningKeys.open(backend, store.keys);
  await CertificateAuthority.initialise(keys, store.keys, TRUST_DOMAIN, NOW);
  authority = await CertificateAuthority.open(keys, store.keys, TRUST_DOMAIN);
});
afterAll(async () => {
  store.close();
  await backend.close();
  await token.remove();
});

const leaf = (more: Partial<LeafRequest> = {}): LeafRequest => ({
  publicJwk: testKey().jwk,
  spiffeId: `spiffe://${TRUST_DOMAIN}/agent/web-1/pay`,
  notAfterSeconds: NOW + 3600,
  assurance: 'hw-key',
  virtual: false,
  developmentPolicy: undefined,
  inTpm: true,
  ...more,
});

/** Writes both and asks openssl; resolves with its complaint, or undefined where it is content. */
async function opensslVerify(certificate: string, ...more: readonly string[]): Promise<string | undefined> {
  const dir = join(token.dir, 'certificates');
  await mkdir(dir, { recursive: true });
  const file = join(dir, `${randomUUID()}.pem`);
  const bundle = join(dir, 'bundle.pem');
  await Promise.all([writeFile(file, certificate), writeFile(bundle, authority.rootPem)]);
  try {
    await run('openssl', ['verify', '-x509_strict', '-CAfile', bundle, ...more, file]);
    return undefined;
  } catch (thrown) {
    return thrown instanceof Error && 'stderr' in thrown ? String(thrown.stderr) : String(thrown);
  }
}

async function opensslText(certificate: string): Promise<string> {
  const file = join(token.dir, `${randomUUID()}.pem`);
  await writeFile(file, certificate);
  return (await run('openssl', ['x509', '-in', file, '-noout', '-text'])).stdout;
}

describe('issuer keys', () => {
  it('S14: are one for each purpose, in the token, and can not be taken out', async () => {
    const thumbprints = new Set<string>();
    for (const purpose of Object.keys(ISSUER_KEY_PURPOSES) as (keyof typeof ISSUER_KEY_PURPOSES)[]) {
      thumbprints.add(jwkThumbprint(keys.publicJwk(purpose)));
      expect(await backend.readProtection(keys.keyId(purpose))).toMatchObject({ exportable: false });
    }
    expect(thumbprints.size).toBe(7);
    expect(keys.publicJwk('agentToken').alg).toBe('Ed25519');
  });

  it('are made once: a second run makes nothing and finds the same', async () => {
    expect(await SigningKeys.initialise(backend, store.keys, NOW)).toEqual([]);
    const again = await SigningKeys.open(backend, store.keys);
    expect(again.publicJwk('x509Ca')).toEqual(keys.publicJwk('x509Ca'));
    expect(await CertificateAuthority.initialise(again, store.keys, TRUST_DOMAIN, NOW)).toBe(false);
  });

  it('that were lost are named and never replaced; a crash while they were made is picked up', async () => {
    const dir = join(token.dir, 'second');
    await mkdir(dir);
    const second = openIssuerStore(dir);
    try {
      expect(await codeOfAsync(() => SigningKeys.open(backend, second.keys))).toBe('key_not_found');
      // The identifier was written and the key made, then the power went.
      const keyId = randomUUID();
      await second.keys.reserve('challenge', keyId, NOW);
      const made = await backend.generate({ keyId, purpose: 'issuer', algorithm: 'ES256' });
      expect(await SigningKeys.initialise(backend, second.keys, NOW)).not.toContain('challenge');
      expect((await SigningKeys.open(backend, second.keys)).publicJwk('challenge')).toEqual(made.publicJwk);
      await backend.destroy(keyId);
      expect(await codeOfAsync(() => SigningKeys.open(backend, second.keys))).toBe('key_not_found');
      expect(await codeOfAsync(() => SigningKeys.initialise(backend, second.keys, NOW))).toBe(
        'key_not_found',
      );
    } finally {
      second.close();
    }
  });
});

describe('the X.509 CA', () => {
  it('is self-signed, constrained to URIs of its trust domain, and may issue no further CA', async () => {
    const text = await opensslText(authority.rootPem);
    expect(text).toMatch(/CA:TRUE, pathlen:0/);
    expect(text).toMatch(/Key Usage: critical\s+Certificate Sign\n/);
    expect(text).toMatch(
      /X509v3 Name Constraints: critical\s+Permitted:\s+URI:agents\.example\s+Excluded:\s+DNS:/,
    );
    expect(new X509Certificate(authority.rootPem).subjectAltName).toBe('URI:spiffe://agents.example');
    expect(await opensslVerify(authority.rootPem)).toBeUndefined();
  });

  it('is of one trust domain for ever', async () => {
    expect(await codeOfAsync(() => CertificateAuthority.open(keys, store.keys, 'other.example'))).toBe(
      'configuration_invalid',
    );
  });

  it.each<Algorithm>(['ES256', 'ES384', 'Ed25519', 'RS256'])(
    'certifies %s keys for both ends of TLS',
    async (alg) => {
      const { jwk } = testKey(alg);
      const { chain } = await authority.issue(leaf({ publicJwk: jwk }), NOW);
      expect(chain).toHaveLength(1);
      const [pem = ''] = chain;
      expect(await opensslVerify(pem, '-purpose', 'sslserver')).toBeUndefined();
      expect(await opensslVerify(pem, '-purpose', 'sslclient')).toBeUndefined();
      expect(new X509Certificate(pem).publicKey.equals(publicKeyObject(jwk))).toBe(true);
    },
  );

  it('writes the profile: empty subject, one critical URI, no CA, SKI and AKI, noRevAvail, no CRL', async () => {
    const { chain, der } = await authority.issue(leaf(), NOW);
    const text = await opensslText(chain[0] ?? '');
    expect(text).toMatch(/Subject: *\n/);
    expect(text).toMatch(
      /Subject Alternative Name: critical\s+URI:spiffe:\/\/agents\.example\/agent\/web-1\/pay\n/,
    );
    expect(text).toMatch(/Basic Constraints: critical\s+CA:FALSE/);
    expect(text).toMatch(/Key Usage: critical\s+Digital Signature\n/);
    expect(text).not.toMatch(/CRL|OCSP/);
    const { extensions, serialNumber, notBeforeSeconds, notAfterSeconds } = parseCertificate(der);
    expect([...extensions.keys()]).toContain('2.5.29.56');
    expect(serialNumber).toMatch(/^[4-7][0-9a-f]{31}$/);
    expect([notBeforeSeconds, notAfterSeconds]).toEqual([NOW - 60, NOW + 3600]);
    const root = new X509Certificate(authority.rootPem);
    expect(new X509Certificate(der).checkIssued(root)).toBe(true);
  });

  it('gives every certificate another serial number', async () => {
    const serials = await Promise.all(
      Array.from(
        { length: 20 },
        async () => new X509Certificate((await authority.issue(leaf(), NOW)).der).serialNumber,
      ),
    );
    expect(new Set(serials).size).toBe(20);
  });

  it('says the level by policy, and TPM residency only where a vendor vouches for the chip', async () => {
    const policies = async (more: Partial<LeafRequest>): Promise<string[]> => {
      const text = await opensslText((await authority.issue(leaf(more), NOW)).chain[0] ?? '');
      return [...text.matchAll(/Policy: ([\d.]+)/g)].map(([, oid = '']) => oid);
    };
    const residency = [TPM_RESIDENCY_OID, TPM_FIXED_OID];
    expect(await policies({})).toEqual([LEVEL_POLICY_OID['hw-key'], ...residency]);
    expect(await policies({ virtual: true })).toEqual([
      LEVEL_POLICY_OID['hw-key'],
      ...residency,
      VIRTUAL_TPM_POLICY_OID,
    ]);
    expect(await policies({ assurance: 'asserted', inTpm: false })).toEqual([LEVEL_POLICY_OID.asserted]);
    expect(await policies({ assurance: 'software', developmentPolicy: 'lab' })).toEqual([
      LEVEL_POLICY_OID.software,
      DEVELOPMENT_POLICY_OID,
    ]);
  });

  it('refuses a life that is over, too long for noRevAvail, or longer than its own', async () => {
    for (const notAfterSeconds of [NOW, NOW - 1, NOW + 86_401]) {
      expect(await codeOfAsync(() => authority.issue(leaf({ notAfterSeconds }), NOW))).toBe('internal');
    }
    const late = NOW + 3650 * 86_400;
    expect(await codeOfAsync(() => authority.issue(leaf({ notAfterSeconds: late + 60 }), late))).toBe(
      'internal',
    );
  });

  it.each([
    ['another trust domain', uriSanExtension('spiffe://bank.example/agent/x', true)],
    ['a DNS name', extension('2.5.29.17', dnsName('bank.example'), true)],
    ['an IP address', extension('2.5.29.17', Buffer.from('30068704c0000201', 'hex'), true)],
  ])('S14: what a thief signs with its key for %s, openssl refuses', async (_what, subjectAltName) => {
    const root = parseCertificate(new X509Certificate(authority.rootPem).raw);
    const spki = publicKeyObject(testKey().jwk).export({ format: 'der', type: 'spki' });
    const sign = (san: Uint8Array) =>
      signCertificate(
        {
          issuer: root.subject,
          subject: EMPTY_NAME,
          notBeforeSeconds: NOW - 60,
          notAfterSeconds: NOW + 600,
          subjectPublicKeyInfo: spki,
          extensions: [
            basicConstraintsExtension(undefined),
            keyUsageExtension('digitalSignature'),
            extendedKeyUsageExtension(),
            san,
            subjectKeyIdentifierExtension(keyIdentifier(spki)),
            authorityKeyIdentifierExtension(keyIdentifier(root.subjectPublicKeyInfo)),
          ],
        },
        (octets) => keys.sign('x509Ca', octets),
      );
    const within = await sign(uriSanExtension(`spiffe://${TRUST_DOMAIN}/agent/x`, true));
    expect(await opensslVerify(certificatePem(within))).toBeUndefined();
    expect(await opensslVerify(certificatePem(await sign(subjectAltName)))).toMatch(
      /(permitted|excluded) subtree violation/,
    );
  });
});

describe('tokens', () => {
  const request = () => ({
    issuer: 'https://issuer.example',
    subject: 'spiffe://agents.example/agent/web-1/pay',
    publicJwk: testKey().jwk,
    attestation: { level: 'hw-key' as const, akId: `000b${'0'.repeat(64)}`, resetCount: 3 },
    issuedAtSeconds: NOW,
    expiresAtSeconds: NOW + 3600,
  });

  it('a WIT verifies under the WIT key and no other, and confirms the key with its alg', async () => {
    const given = request();
    const { token: wit, jti } = await issueWit(keys, given);
    const { payload, protectedHeader } = await jwtVerify(wit, await importJWK({ ...keys.publicJwk('wit') }), {
      typ: 'wit+jwt',
      issuer: given.issuer,
    });
    expect(protectedHeader).toEqual({
      alg: 'ES256',
      typ: 'wit+jwt',
      kid: jwkThumbprint(keys.publicJwk('wit')),
    });
    expect(payload).toEqual({
      iss: given.issuer,
      sub: given.subject,
      jti,
      iat: NOW,
      exp: NOW + 3600,
      cnf: { jwk: given.publicJwk },
      'urn:agentkeyd:attestation': given.attestation,
    });
    for (const purpose of ['ear', 'challenge', 'status', 'grant', 'x509Ca'] as const) {
      await expect(jwtVerify(wit, await importJWK({ ...keys.publicJwk(purpose) }))).rejects.toThrow(
        /signature/,
      );
    }
  });

  it('an agent token is Ed25519 with the fully specified alg, and names its metadata document', async () => {
    const { token: agentToken } = await issueAgentToken(keys, {
      ...request(),
      subject: 'aauth:web-1.pay@agents.example',
    });
    const { payload, protectedHeader } = await jwtVerify(
      agentToken,
      await importJWK({ ...keys.publicJwk('agentToken') }),
      { typ: 'aa-agent+jwt', algorithms: ['Ed25519'] },
    );
    expect(protectedHeader.alg).toBe('Ed25519');
    expect(payload).toMatchObject({ dwk: 'aauth-agent.json', sub: 'aauth:web-1.pay@agents.example' });
  });

  it('have an identifier of their own each', async () => {
    const [one, two] = await Promise.all([issueWit(keys, request()), issueWit(keys, request())]);
    expect(decodeJwt(one.token).jti).not.toBe(decodeJwt(two.token).jti);
  });
});

function dnsName(name: string): Uint8Array {
  const text = Buffer.from(name);
  return Buffer.concat([Buffer.from([0x30, text.length + 2, 0x82, text.length]), text]);
}
