/** The X.509 CA of the trust domain: X509-SVIDs for agents (SPIFFE X509-SVID; attestation reference §5). */
import { X509Certificate } from 'node:crypto';
import { AnswerMemory } from '../../base/answer-memory.ts';
import type { AssuranceLevel } from '../../wire/assurance.ts';
import {
  DEVELOPMENT_POLICY_OID,
  LEVEL_POLICY_OID,
  TPM_FIXED_OID,
  TPM_RESIDENCY_OID,
  VIRTUAL_TPM_POLICY_OID,
} from '../../wire/issuance/credential-profile.ts';
import type { PublicJwk } from '../../wire/jwk.ts';
import { KeydError } from '../../wire/problem.ts';
import { publicKeyObject } from '../../wire/public-key.ts';
import { parseCertificate, type X509Fields } from '../../wire/x509.ts';
import type { SigningKeys } from '../signing-keys.ts';
import type { KeyStore } from '../store/key-store.ts';
import {
  certificatePem,
  commonName,
  EMPTY_NAME,
  signCertificate,
  type Es256Signer,
} from './x509-certificate.ts';
import {
  authorityKeyIdentifierExtension,
  basicConstraintsExtension,
  certificatePoliciesExtension,
  extendedKeyUsageExtension,
  keyIdentifier,
  keyUsageExtension,
  nameConstraintsExtension,
  noRevAvailExtension,
  subjectKeyIdentifierExtension,
  uriSanExtension,
} from './x509-extension.ts';

/** What a leaf says. */
export interface LeafRequest {
  readonly publicJwk: PublicJwk;
  readonly spiffeId: string;
  readonly notAfterSeconds: number;
  readonly assurance: AssuranceLevel;
  readonly virtual: boolean;
  readonly developmentPolicy: string | undefined;
  /** The key was certified by the host's AK. */
  readonly inTpm: boolean;
}

export interface IssuedLeaf {
  readonly der: Uint8Array;
  /** Leaf first, PEM; the root is published apart. */
  readonly chain: readonly string[];
}

/** For clocks that run behind. */
const BACKDATE_SECONDS = 60;
const CA_LIFETIME_SECONDS = 3650 * 86_400;
/** RFC 9608 §4 leaves the bound to the CA; ours is the profile's. */
const MAX_LEAF_SECONDS = 86_400;

/** What every leaf has, before what tells it from others and after. */
const LEAF_EXTENSIONS = [
  basicConstraintsExtension(undefined),
  keyUsageExtension('digitalSignature'),
  extendedKeyUsageExtension(),
] as const;
const NO_REV_AVAIL = noRevAvailExtension();

/** A key as certificates have it. */
interface CertifiedSpki {
  readonly spki: Uint8Array;
  readonly identifier: Uint8Array;
}

/** An agent's key comes again with every renewal (verifier/area-memory.ts), and writing a key costs as much as reading it. */
const known = new WeakMap<PublicJwk, CertifiedSpki>();

export class CertificateAuthority {
  readonly #certificate: X509Fields;
  readonly #sign: Es256Signer;
  readonly #authorityKeyIdentifier: Uint8Array;
  /** Encoded, by their OIDs: there are as many as there are levels and named policies. */
  readonly #policies = new AnswerMemory<Uint8Array>();
  /** The self-signed root, PEM. */
  readonly rootPem: string;

  private constructor(certificate: X509Fields, sign: Es256Signer) {
    this.#certificate = certificate;
    this.#sign = sign;
    this.#authorityKeyIdentifier = authorityKeyIdentifierExtension(
      keyIdentifier(certificate.subjectPublicKeyInfo),
    );
    this.rootPem = certificatePem(certificate.encoded);
  }

  /**
   * Reads the root certificate that `initialise` made.
   * @throws KeydError `configuration_invalid` where there is none or it is of another trust domain
   */
  static async open(keys: SigningKeys, store: KeyStore, trustDomain: string): Promise<CertificateAuthority> {
    const record = await store.caCertificate(keys.keyId('x509Ca'));
    if (record === undefined) {
      throw new KeydError(
        'configuration_invalid',
        'there is no CA certificate yet; run "agentkey-issuer keys init"',
      );
    }
    const uri = new X509Certificate(record.der).subjectAltName;
    if (uri !== `URI:${trustIdentifier(trustDomain)}`) {
      throw new KeydError(
        'configuration_invalid',
        `the CA certificate is of ${uri ?? 'no trust domain'}, the configuration names ${trustDomain}; a trust domain never changes its name`,
      );
    }
    return new CertificateAuthority(parseCertificate(record.der, 'CA certificate'), (octets) =>
      keys.sign('x509Ca', octets),
    );
  }

  /** Makes the self-signed root where there is none. @returns whether one was made */
  static async initialise(
    keys: SigningKeys,
    store: KeyStore,
    trustDomain: string,
    nowSeconds: number,
  ): Promise<boolean> {
    const keyId = keys.keyId('x509Ca');
    if ((await store.caCertificate(keyId)) !== undefined) return false;
    const { spki, identifier } = certifiedSpki(keys.publicJwk('x509Ca'));
    const name = commonName(`agentkey-issuer X.509 CA of ${trustDomain}`.slice(0, 64));
    const der = await signCertificate(
      {
        issuer: name,
        subject: name,
        notBeforeSeconds: nowSeconds - BACKDATE_SECONDS,
        notAfterSeconds: nowSeconds + CA_LIFETIME_SECONDS,
        subjectPublicKeyInfo: spki,
        extensions: [
          basicConstraintsExtension({ pathLength: 0 }),
          keyUsageExtension('keyCertSign'),
          extendedKeyUsageExtension(),
          // SPIFFE X509-SVID §3: a signing certificate names its trust domain, without a path.
          uriSanExtension(trustIdentifier(trustDomain), false),
          nameConstraintsExtension(trustDomain),
          subjectKeyIdentifierExtension(identifier),
        ],
      },
      (octets) => keys.sign('x509Ca', octets),
    );
    await store.addCaCertificate(keyId, der, nowSeconds);
    return true;
  }

  /** Issues a leaf certificate. @throws KeydError `internal` for a life the profile does not allow */
  async issue(request: LeafRequest, nowSeconds: number): Promise<IssuedLeaf> {
    const life = request.notAfterSeconds - nowSeconds;
    if (life <= 0 || life > MAX_LEAF_SECONDS || request.notAfterSeconds > this.#certificate.notAfterSeconds) {
      throw new KeydError('internal', `a certificate for ${life} s is outside the profile or the CA's life`);
    }
    const { spki, identifier } = certifiedSpki(request.publicJwk);
    const oids = policyOids(request);
    const der = await signCertificate(
      {
        issuer: this.#certificate.subject,
        subject: EMPTY_NAME,
        notBeforeSeconds: nowSeconds - BACKDATE_SECONDS,
        notAfterSeconds: request.notAfterSeconds,
        subjectPublicKeyInfo: spki,
        extensions: [
          ...LEAF_EXTENSIONS,
          uriSanExtension(request.spiffeId, true),
          subjectKeyIdentifierExtension(identifier),
          this.#authorityKeyIdentifier,
          this.#policies.answer(oids.join(' '), () => certificatePoliciesExtension(oids)),
          NO_REV_AVAIL,
        ],
      },
      this.#sign,
    );
    return { der, chain: [certificatePem(der)] };
  }
}

function trustIdentifier(trustDomain: string): string {
  return `spiffe://${trustDomain}`;
}

function certifiedSpki(jwk: PublicJwk): CertifiedSpki {
  let made = known.get(jwk);
  if (made === undefined) {
    const spki = publicKeyObject(jwk).export({ format: 'der', type: 'spki' });
    known.set(jwk, (made = { spki, identifier: keyIdentifier(spki) }));
  }
  return made;
}

function policyOids({ assurance, virtual, developmentPolicy, inTpm }: LeafRequest): readonly string[] {
  // The TCG policies are a statement of ours about a chip: where no vendor vouches for it, nothing is stated.
  const verified = inTpm && (assurance === 'hw-key' || assurance === 'hw-platform');
  return [
    LEVEL_POLICY_OID[assurance],
    ...(verified ? [TPM_RESIDENCY_OID, TPM_FIXED_OID] : []),
    ...(virtual ? [VIRTUAL_TPM_POLICY_OID] : []),
    ...(developmentPolicy === undefined ? [] : [DEVELOPMENT_POLICY_OID]),
  ];
}
