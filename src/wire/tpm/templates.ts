/**
 * Public templates of the keys this project creates or rebuilds: EKs as the TCG EK Credential Profile
 * (2.6, §B) fixes them, the SRK of the TCG Provisioning Guidance, our AK and the signing keys.
 */
import type { KeyObject } from 'node:crypto';
import type { Algorithm } from '../algorithms.ts';
import { KeydError } from '../problem.ts';
import { CURVES, type CurveName, type HashName } from './constants.ts';
import {
  serializePublicArea,
  type EccPublicArea,
  type PublicArea,
  type RsaPublicArea,
} from './public-area.ts';
import { keyMaterialOf, type KeyMaterial } from './public-key.ts';

/** TCG EK Credential Profile §B: L (low range, PolicyA) and H (high range, PolicyB and userWithAuth). */
export type EkTemplateName = 'L-1' | 'L-2' | 'H-1' | 'H-2' | 'H-3' | 'H-4' | 'H-6' | 'H-7';

/** One row of the profile. */
export interface EkTemplateEntry {
  /** NV index of the certificate; low range: +1 nonce, +2 template override. */
  readonly certificateIndex: number;
  readonly nameAlg: HashName;
  readonly symmetricBits: 128 | 256;
  readonly key:
    | { readonly type: 'rsa'; readonly keyBits: 2048 | 3072 | 4096 }
    | { readonly type: 'ecc'; readonly curve: CurveName };
  /** True for H templates: the EK's own (empty) auth authorizes it, PolicySecret alone does not. */
  readonly userWithAuth: boolean;
}

export const EK_TEMPLATES: Readonly<Record<EkTemplateName, EkTemplateEntry>> = {
  'L-1': ek(0x01c00002, 'sha256', 128, { type: 'rsa', keyBits: 2048 }, false),
  'L-2': ek(0x01c0000a, 'sha256', 128, { type: 'ecc', curve: 'P-256' }, false),
  'H-1': ek(0x01c00012, 'sha256', 128, { type: 'rsa', keyBits: 2048 }, true),
  'H-2': ek(0x01c00014, 'sha256', 128, { type: 'ecc', curve: 'P-256' }, true),
  'H-3': ek(0x01c00016, 'sha384', 256, { type: 'ecc', curve: 'P-384' }, true),
  'H-4': ek(0x01c00018, 'sha512', 256, { type: 'ecc', curve: 'P-521' }, true),
  'H-6': ek(0x01c0001c, 'sha384', 256, { type: 'rsa', keyBits: 3072 }, true),
  'H-7': ek(0x01c0001e, 'sha384', 256, { type: 'rsa', keyBits: 4096 }, true),
};

export const EK_TEMPLATE_NAMES = Object.keys(EK_TEMPLATES) as readonly EkTemplateName[];

export function isEkTemplateName(text: string): text is EkTemplateName {
  return Object.hasOwn(EK_TEMPLATES, text);
}

/** PolicyA: PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256 (EK profile §B.6.2). */
const POLICY_A = '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa';

/** PolicyB: PolicyOR(PolicyA, PolicyC) (EK profile §B.6.5); the tests compute it from its parts. */
const POLICY_B: Readonly<Record<'sha256' | 'sha384' | 'sha512', string>> = {
  sha256: 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0',
  sha384: 'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
  sha512:
    'b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a429c41a6b269571d57edb25fbdb183842' +
    '5608b413cd616a5f6db5b6071af99bea',
};

/** fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt. */
const EK_LOW = 0x000300b2;
/** The same and userWithAuth. */
const EK_HIGH = 0x000300f2;
/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt. */
const SRK = 0x00030472;
/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign. */
const AK = 0x00050472;
/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign. */
const SIGNING_KEY = 0x00040472;
/** The same without userWithAuth: a key with a policy must not be usable by its auth value alone. */
const SIGNING_KEY_WITH_POLICY = 0x00040432;

const EMPTY = new Uint8Array();

/**
 * The input to TPM2_CreatePrimary for an EK: low range with a zero-filled, high range with an empty unique.
 * @param nonce the low range's EK nonce from NV, where the vendor put one (§2.2.1.4): unique starts with it
 * @throws KeydError `malformed_structure` for a nonce that does not fit
 */
export function ekTemplate(name: EkTemplateName, nonce: Uint8Array = EMPTY): Uint8Array {
  const { key, userWithAuth } = EK_TEMPLATES[name];
  const octets = userWithAuth ? 0 : key.type === 'rsa' ? key.keyBits / 8 : CURVES[key.curve].octets;
  if (nonce.length > octets) {
    throw new KeydError(
      'malformed_structure',
      `an EK nonce of ${nonce.length} octets does not fit template ${name}`,
    );
  }
  const unique = new Uint8Array(octets);
  unique.set(nonce);
  return key.type === 'rsa'
    ? ekPublic(name, { type: 'rsa', keyBits: key.keyBits, modulus: unique })
    : ekPublic(name, { type: 'ecc', curve: key.curve, x: unique, y: new Uint8Array(octets) });
}

/**
 * The whole TPMT_PUBLIC an EK of this template has if its key is the certificate's (checklist 6).
 * @throws KeydError `evidence_invalid` if the key is not of the template's kind
 */
export function rebuildEkPublic(name: EkTemplateName, key: KeyObject): Uint8Array {
  return ekPublic(name, keyMaterialOf(key));
}

/** SRK, P-256 with 32 zero octets each in x and y (TCG Provisioning Guidance §7.5.1; EK profile L-2's twin). */
export function srkTemplate(): Uint8Array {
  const fill = new Uint8Array(32);
  return serializePublicArea({
    type: 'ecc',
    nameAlg: 'sha256',
    attributes: SRK,
    authPolicy: EMPTY,
    symmetricBits: 128,
    scheme: undefined,
    curve: 'P-256',
    x: fill,
    y: fill,
  });
}

/** AK: restricted P-256 ECDSA-SHA256 primary. `unique` (32 octets) makes it this owner's. */
export function akTemplate(unique: Uint8Array): Uint8Array {
  return serializePublicArea({ ...signingEcc('P-256', 'sha256', EMPTY), attributes: AK, x: unique });
}

export interface SigningKeyOptions {
  /** RSA modulus; 2048 unless said. */
  readonly rsaBits?: 2048 | 3072;
  /** A SHA-256 policy digest; the key is then usable by satisfying it only. */
  readonly authPolicy?: Uint8Array;
}

/**
 * The template of an unrestricted signing key, its scheme fixed so that it signs in one way only.
 * @throws KeydError `unsupported_algorithm`: no TPM ships Ed25519
 */
export function signingKeyTemplate(algorithm: Algorithm, options: SigningKeyOptions = {}): Uint8Array {
  return serializePublicArea(signingKeyArea(algorithm, options));
}

function signingKeyArea(algorithm: Algorithm, options: SigningKeyOptions): PublicArea {
  const policy = options.authPolicy ?? EMPTY;
  switch (algorithm) {
    case 'ES256':
      return signingEcc('P-256', 'sha256', policy);
    case 'ES384':
      return signingEcc('P-384', 'sha384', policy);
    case 'RS256':
      return signingRsa('rsassa', options.rsaBits ?? 2048, policy);
    case 'PS256':
      return signingRsa('rsapss', options.rsaBits ?? 2048, policy);
    case 'Ed25519':
      throw new KeydError(
        'unsupported_algorithm',
        'a TPM makes no Ed25519 keys; choose ES256, or a PKCS#11 token',
      );
  }
}

function signingEcc(curve: CurveName, hash: HashName, authPolicy: Uint8Array): EccPublicArea {
  return {
    type: 'ecc',
    nameAlg: 'sha256',
    attributes: authPolicy.length === 0 ? SIGNING_KEY : SIGNING_KEY_WITH_POLICY,
    authPolicy,
    symmetricBits: undefined,
    scheme: { scheme: 'ecdsa', hash },
    curve,
    x: EMPTY,
    y: EMPTY,
  };
}

function signingRsa(
  scheme: 'rsassa' | 'rsapss',
  keyBits: 2048 | 3072,
  authPolicy: Uint8Array,
): RsaPublicArea {
  return {
    type: 'rsa',
    nameAlg: 'sha256',
    attributes: authPolicy.length === 0 ? SIGNING_KEY : SIGNING_KEY_WITH_POLICY,
    authPolicy,
    symmetricBits: undefined,
    scheme: { scheme, hash: 'sha256' },
    keyBits,
    exponent: 0,
    modulus: EMPTY,
  };
}

function ekPublic(name: EkTemplateName, material: KeyMaterial): Uint8Array {
  const { nameAlg, symmetricBits, key, userWithAuth } = EK_TEMPLATES[name];
  const policy = userWithAuth && nameAlg !== 'sha1' ? POLICY_B[nameAlg] : POLICY_A;
  const common = {
    nameAlg,
    attributes: userWithAuth ? EK_HIGH : EK_LOW,
    authPolicy: new Uint8Array(Buffer.from(policy, 'hex')),
    symmetricBits,
    scheme: undefined,
  } as const;
  if (key.type === 'rsa' && material.type === 'rsa' && material.keyBits === key.keyBits) {
    return serializePublicArea({
      type: 'rsa',
      ...common,
      keyBits: key.keyBits,
      exponent: 0,
      modulus: material.modulus,
    });
  }
  if (key.type === 'ecc' && material.type === 'ecc' && material.curve === key.curve) {
    return serializePublicArea({ type: 'ecc', ...common, curve: key.curve, x: material.x, y: material.y });
  }
  const wanted = key.type === 'rsa' ? `RSA-${key.keyBits}` : key.curve;
  throw new KeydError(
    'evidence_invalid',
    `the certificate's key is not the ${wanted} key of EK template ${name}`,
  );
}

function ek(
  certificateIndex: number,
  nameAlg: HashName,
  symmetricBits: 128 | 256,
  key: EkTemplateEntry['key'],
  userWithAuth: boolean,
): EkTemplateEntry {
  return { certificateIndex, nameAlg, symmetricBits, key, userWithAuth };
}
