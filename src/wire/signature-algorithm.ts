/** JOSE signatures as X.509 and PKCS#10 carry them: AlgorithmIdentifier and signature octets. */
import { algorithmEntry, type Algorithm } from './algorithms.ts';
import { contextTag, der, derInteger, derNull, derOid, derSequence } from './der.ts';
import { ecdsaConcatToDer } from './ecdsa-signature.ts';

const PSS_SALT_OCTETS = 32;
const SHA256 = derSequence(derOid('2.16.840.1.101.3.4.2.1'), derNull());

/** RFC 5758 §3.2, RFC 8410 §3, RFC 4055 §5 and §3.1. */
const IDENTIFIERS: Readonly<Record<Algorithm, Uint8Array>> = {
  ES256: derSequence(derOid('1.2.840.10045.4.3.2')),
  ES384: derSequence(derOid('1.2.840.10045.4.3.3')),
  Ed25519: derSequence(derOid('1.3.101.112')),
  RS256: derSequence(derOid('1.2.840.113549.1.1.11'), derNull()),
  PS256: derSequence(
    derOid('1.2.840.113549.1.1.10'),
    derSequence(
      der(contextTag(0), SHA256),
      der(contextTag(1), derSequence(derOid('1.2.840.113549.1.1.8'), SHA256)),
      der(contextTag(2), derInteger(PSS_SALT_OCTETS)),
    ),
  ),
};

/** The AlgorithmIdentifier under which a key of this algorithm signs, DER. */
export function signatureAlgorithmIdentifier(algorithm: Algorithm): Uint8Array {
  return IDENTIFIERS[algorithm];
}

/**
 * The content of `signatureValue` from a JOSE signature: ECDSA as DER, the others as they are.
 * @throws KeydError `malformed_structure` where r||s has the wrong length
 */
export function x509SignatureOctets(algorithm: Algorithm, joseSignature: Uint8Array): Uint8Array {
  const { kty, signatureOctets } = algorithmEntry(algorithm);
  return kty === 'EC' && signatureOctets !== undefined
    ? ecdsaConcatToDer(joseSignature, signatureOctets / 2)
    : joseSignature;
}
