/** Everything known about a JOSE signature algorithm, in one table; code below takes the entry, never the string. */

export interface AlgorithmEntry {
  /** JOSE `alg` (RFC 7518 §3.1; Ed25519: RFC 9864). */
  readonly alg: string;
  readonly kty: 'EC' | 'OKP' | 'RSA';
  /** JWK `crv`; RSA has none. */
  readonly crv?: 'P-256' | 'P-384' | 'Ed25519';
  /** node:crypto digest name; Ed25519 hashes inside the signature algorithm. */
  readonly hash: 'sha256' | 'sha384' | undefined;
  /** RFC 9421 §3.3 algorithm name; undefined where the RFC defines none. */
  readonly httpSignatureName: string | undefined;
  /** Octets of a JOSE signature; RSA has the length of its modulus. */
  readonly signatureOctets: number | undefined;
  readonly rsaPadding?: 'pkcs1' | 'pss';
}

const TABLE = {
  ES256: {
    alg: 'ES256',
    kty: 'EC',
    crv: 'P-256',
    hash: 'sha256',
    httpSignatureName: 'ecdsa-p256-sha256',
    signatureOctets: 64,
  },
  ES384: {
    alg: 'ES384',
    kty: 'EC',
    crv: 'P-384',
    hash: 'sha384',
    httpSignatureName: 'ecdsa-p384-sha384',
    signatureOctets: 96,
  },
  Ed25519: {
    alg: 'Ed25519',
    kty: 'OKP',
    crv: 'Ed25519',
    hash: undefined,
    httpSignatureName: 'ed25519',
    signatureOctets: 64,
  },
  RS256: {
    alg: 'RS256',
    kty: 'RSA',
    hash: 'sha256',
    httpSignatureName: 'rsa-v1_5-sha256',
    signatureOctets: undefined,
    rsaPadding: 'pkcs1',
  },
  PS256: {
    alg: 'PS256',
    kty: 'RSA',
    hash: 'sha256',
    // RFC 9421 names only rsa-pss-sha512.
    httpSignatureName: undefined,
    signatureOctets: undefined,
    rsaPadding: 'pss',
  },
} as const satisfies Record<string, AlgorithmEntry>;

/** JOSE algorithms that keys can be made for. */
export type Algorithm = keyof typeof TABLE;

export const ALGORITHMS = Object.keys(TABLE) as readonly Algorithm[];

export function isAlgorithm(text: string): text is Algorithm {
  return Object.hasOwn(TABLE, text);
}

export function algorithmEntry(algorithm: Algorithm): AlgorithmEntry {
  return TABLE[algorithm];
}
