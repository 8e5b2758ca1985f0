/** Certificates as DER (RFC 5280 §4.1), signed by a key that only hardware has. */
import { randomBytes } from 'node:crypto';
import forge from 'node-forge';
import {
  contextTag,
  der,
  DER_TAG,
  derBitString,
  derInteger,
  derOid,
  derSequence,
  derSetOf,
  derUtf8String,
} from '../../wire/der.ts';
import { ecdsaConcatToDer } from '../../wire/ecdsa-signature.ts';
import { toPem } from '../../wire/pem.ts';

/** id-at-commonName */
const COMMON_NAME = '2.5.4.3';
/** ecdsa-with-SHA256, RFC 5758 §3.2: no parameters. */
const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
const P256_OCTETS = 32;
const VERSION_3 = 2;
const SERIAL_OCTETS = 16;
/** AlgorithmIdentifier. */
const SIGNED_BY = derSequence(derOid(ECDSA_WITH_SHA256));
/** Years from here on are written as GeneralizedTime (§4.1.2.5). */
const GENERALIZED_FROM_YEAR = 2050;

export interface CertificateTemplate {
  /** Names as DER. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly notBeforeSeconds: number;
  readonly notAfterSeconds: number;
  readonly subjectPublicKeyInfo: Uint8Array;
  /** Extensions as DER, in order. */
  readonly extensions: readonly Uint8Array[];
}

/** Signs with ES256: JOSE octets r||s over the octets given. */
export type Es256Signer = (octets: Uint8Array) => Promise<Uint8Array>;

export const EMPTY_NAME: Uint8Array = derSequence();

export function commonName(text: string): Uint8Array {
  return derSequence(derSetOf(derSequence(derOid(COMMON_NAME), derUtf8String(text))));
}

/** The certificate, DER, with a serial number of 16 random positive octets. */
export async function signCertificate(template: CertificateTemplate, sign: Es256Signer): Promise<Uint8Array> {
  const tbs = derSequence(
    der(contextTag(0), derInteger(VERSION_3)),
    der(DER_TAG.integer, randomSerial()),
    SIGNED_BY,
    template.issuer,
    derSequence(time(template.notBeforeSeconds), time(template.notAfterSeconds)),
    template.subject,
    template.subjectPublicKeyInfo,
    der(contextTag(3), derSequence(...template.extensions)),
  );
  const signature = ecdsaConcatToDer(await sign(tbs), P256_OCTETS);
  return derSequence(tbs, SIGNED_BY, derBitString(signature));
}

/** RFC 7468 §5. */
export function certificatePem(certificate: Uint8Array): string {
  return toPem('CERTIFICATE', certificate);
}

/** Content of an INTEGER. */
function randomSerial(): Uint8Array {
  const octets = randomBytes(SERIAL_OCTETS);
  // The highest bit is the sign; the next one keeps the length.
  octets.writeUInt8((octets.readUInt8(0) & 0x3f) | 0x40, 0);
  return octets;
}

function time(seconds: number): Uint8Array {
  const date = new Date(seconds * 1000);
  return date.getUTCFullYear() < GENERALIZED_FROM_YEAR
    ? der(DER_TAG.utcTime, Buffer.from(forge.asn1.dateToUtcTime(date), 'ascii'))
    : der(DER_TAG.generalizedTime, Buffer.from(forge.asn1.dateToGeneralizedTime(date), 'ascii'));
}
