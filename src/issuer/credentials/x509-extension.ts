/** Extensions of the issued certificates, as DER (RFC 5280 §4.2, RFC 9608). */
import { createHash } from 'node:crypto';
import {
  contextTag,
  der,
  DER_TAG,
  derBitString,
  derBoolean,
  derInteger,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  readWhole,
} from '../../wire/der.ts';
import { EXTENSION, KEY_USAGE, type KeyUsageName } from '../../wire/x509-extensions.ts';

export const NO_REV_AVAIL_OID = '2.5.29.56';
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** GeneralName alternatives, §4.2.1.6. */
const DNS_NAME = 2;
const URI_NAME = 6;
const IP_ADDRESS = 7;

export function basicConstraintsExtension(ca: { readonly pathLength: number } | undefined): Uint8Array {
  // FALSE is the DEFAULT, which DER leaves out.
  const content = ca === undefined ? [] : [derBoolean(true), derInteger(ca.pathLength)];
  return extension(EXTENSION.basicConstraints, true, derSequence(...content));
}

export function keyUsageExtension(...usages: readonly KeyUsageName[]): Uint8Array {
  const bits = usages.map((usage) => KEY_USAGE[usage]);
  const last = Math.max(...bits);
  const octets = new Uint8Array((last >> 3) + 1);
  for (const bit of bits) octets[bit >> 3] = (octets[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  return extension(EXTENSION.keyUsage, true, derBitString(octets, 7 - (last & 7)));
}

/** clientAuth and serverAuth: an X509-SVID serves on both ends. */
export function extendedKeyUsageExtension(): Uint8Array {
  return extension(EXTENSION.extendedKeyUsage, false, derSequence(derOid(SERVER_AUTH), derOid(CLIENT_AUTH)));
}

/** Exactly one URI. Critical where the subject is empty (RFC 5280 §4.2.1.6). */
export function uriSanExtension(uri: string, critical: boolean): Uint8Array {
  return extension(
    EXTENSION.subjectAlternativeName,
    critical,
    derSequence(der(contextTag(URI_NAME, false), Buffer.from(uri, 'ascii'))),
  );
}

/** RFC 7093 §2 method 1: leftmost 160 bits of SHA-256 over the subjectPublicKey bits. */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  const { octets } = readWhole(spki, 'SubjectPublicKeyInfo', (reader) => {
    const sequence = reader.sequence();
    sequence.element(DER_TAG.sequence);
    const bits = sequence.bitString();
    sequence.end();
    return bits;
  });
  return createHash('sha256').update(octets).digest().subarray(0, 20);
}

export function subjectKeyIdentifierExtension(identifier: Uint8Array): Uint8Array {
  return extension(EXTENSION.subjectKeyIdentifier, false, derOctetString(identifier));
}

export function authorityKeyIdentifierExtension(identifier: Uint8Array): Uint8Array {
  return extension(
    EXTENSION.authorityKeyIdentifier,
    false,
    derSequence(der(contextTag(0, false), identifier)),
  );
}

export function certificatePoliciesExtension(oids: readonly string[]): Uint8Array {
  return extension(
    EXTENSION.certificatePolicies,
    false,
    derSequence(...oids.map((oid) => derSequence(derOid(oid)))),
  );
}

/** RFC 9608: no revocation information will ever be published for this certificate. */
export function noRevAvailExtension(): Uint8Array {
  return extension(NO_REV_AVAIL_OID, false, derNull());
}

/**
 * URIs of one host only, and no DNS name or IP address at all (§4.2.1.10): a stolen CA key certifies nothing
 * outside the trust domain.
 */
export function nameConstraintsExtension(uriHost: string): Uint8Array {
  const subtree = (alternative: number, base: Uint8Array): Uint8Array =>
    derSequence(der(contextTag(alternative, false), base));
  const permitted = der(contextTag(0), subtree(URI_NAME, Buffer.from(uriHost, 'ascii')));
  const excluded = der(
    contextTag(1),
    subtree(DNS_NAME, new Uint8Array()),
    // Address and mask of zeros: every address.
    subtree(IP_ADDRESS, new Uint8Array(8)),
    subtree(IP_ADDRESS, new Uint8Array(32)),
  );
  return extension(EXTENSION.nameConstraints, true, derSequence(permitted, excluded));
}

function extension(oid: string, critical: boolean, value: Uint8Array): Uint8Array {
  return derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value));
}
