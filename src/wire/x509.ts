/**
 * X.509 certificates (RFC 5280) read with our own strict DER, so that what is judged and what is verified are
 * the same octets: no second parser can see another certificate.
 */
import type { KeyObject } from 'node:crypto';
import { contextTag, DER_TAG, readWhole, type DerReader } from './der.ts';
import { importPublicKey, type SignedOctets } from './x509-signature.ts';

export interface X509Extension {
  readonly critical: boolean;
  /** Contents of extnValue: the DER of the extension itself. */
  readonly value: Uint8Array;
}

/** A certificate taken apart; nothing in it has been judged. Octets are views of `encoded`. */
export interface X509Fields extends SignedOctets {
  readonly encoded: Uint8Array;
  /** Lower-case hex of the INTEGER's content. */
  readonly serialNumber: string;
  /** Names as encoded; compared octet for octet. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly notBeforeSeconds: number;
  readonly notAfterSeconds: number;
  readonly subjectPublicKeyInfo: Uint8Array;
  /** Object identifier of the subject's key type. */
  readonly publicKeyAlgorithm: string;
  /** By object identifier. */
  readonly extensions: ReadonlyMap<string, X509Extension>;
}

export interface NameAttribute {
  readonly type: string;
  readonly value: string;
}

const VERSION_3 = 2;
const MAX_EXTENSIONS = 64;

/** Reads a version 3 certificate. @throws KeydError `malformed_structure` */
export function parseCertificate(encoded: Uint8Array, what = 'certificate'): X509Fields {
  return readWhole(encoded, what, (reader) => {
    const certificate = reader.sequence();
    const tbsElement = certificate.element(DER_TAG.sequence);
    const outerAlgorithm = certificate.element(DER_TAG.sequence);
    const signature = certificate.bitString();
    certificate.end();
    if (signature.unusedBits !== 0) certificate.fail('has a signature that is not whole octets');

    return readWhole(tbsElement.encoded, what, (outer) => {
      const tbs = outer.sequence();
      const version = tbs.within(contextTag(0));
      if (version.smallInteger(VERSION_3) !== VERSION_3) version.fail('is not version 3');
      version.end();
      const serialNumber = Buffer.from(tbs.element(DER_TAG.integer).content).toString('hex');
      const innerAlgorithm = tbs.element(DER_TAG.sequence);
      if (!Buffer.from(innerAlgorithm.encoded).equals(outerAlgorithm.encoded)) {
        tbs.fail('names two signature algorithms');
      }
      const issuer = tbs.element(DER_TAG.sequence).encoded;
      const validity = tbs.sequence();
      const notBeforeSeconds = readTime(validity);
      const notAfterSeconds = readTime(validity);
      validity.end();
      const subject = tbs.element(DER_TAG.sequence).encoded;
      const subjectPublicKeyInfo = tbs.element(DER_TAG.sequence).encoded;
      const extensions = tbs.nextIs(contextTag(3)) ? readExtensions(tbs.within(contextTag(3))) : new Map();
      tbs.end();
      return {
        encoded,
        tbs: tbsElement.encoded,
        serialNumber,
        issuer,
        subject,
        notBeforeSeconds,
        notAfterSeconds,
        subjectPublicKeyInfo,
        publicKeyAlgorithm: readWhole(subjectPublicKeyInfo, what, readKeyAlgorithm),
        extensions,
        signatureAlgorithm: innerAlgorithm.encoded,
        signature: signature.octets,
      };
    });
  });
}

/**
 * The subject's public key: RSA, EC or Ed25519. RSAES-OAEP keys, which certificates of TPM 1.2 carry, are refused.
 * @throws KeydError `malformed_structure`
 */
export function certificatePublicKey(certificate: X509Fields, what = 'certificate'): KeyObject {
  return importPublicKey(certificate.subjectPublicKeyInfo, certificate.publicKeyAlgorithm, what);
}

/** Every attribute of a distinguished name, in order, multi-valued RDNs flattened. @throws `malformed_structure` */
export function readName(name: Uint8Array, what = 'name'): readonly NameAttribute[] {
  return readWhole(name, what, (reader) => {
    const attributes: NameAttribute[] = [];
    const rdns = reader.sequence();
    while (!rdns.atEnd) {
      const rdn = rdns.set();
      do {
        const attribute = rdn.sequence();
        const type = attribute.oid();
        attributes.push({ type, value: readText(attribute) });
        attribute.end();
      } while (!rdn.atEnd);
    }
    return attributes;
  });
}

/** UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 allows them: seconds, Z. Unix seconds. */
export function readTime(reader: DerReader): number {
  const { tag, content } = reader.element();
  const text = Buffer.from(content).toString('latin1');
  const [, digits] = /^(\d+)Z$/.exec(text) ?? [];
  let full = digits;
  if (tag === DER_TAG.utcTime && digits?.length === 12) full = (digits < '50' ? '20' : '19') + digits;
  else if (tag !== DER_TAG.generalizedTime || digits?.length !== 14) full = undefined;
  const iso = full?.replace(/^(.{4})(..)(..)(..)(..)(..)$/, '$1-$2-$3T$4:$5:$6Z');
  const milliseconds = iso === undefined ? NaN : Date.parse(iso);
  // Date.parse takes 31 February for 3 March.
  const exact =
    !Number.isNaN(milliseconds) && new Date(milliseconds).toISOString().replace('.000', '') === iso;
  return exact ? milliseconds / 1000 : reader.fail(`has the time ${JSON.stringify(text)}`);
}

/** AlgorithmIdentifier; parameters, if any, are left to whoever knows the algorithm. */
export function readAlgorithm(reader: DerReader): string {
  const identifier = reader.sequence();
  const oid = identifier.oid();
  if (!identifier.atEnd) identifier.element();
  identifier.end();
  return oid;
}

/** Object identifier of a SubjectPublicKeyInfo's key type. */
export function readKeyAlgorithm(reader: DerReader): string {
  const spki = reader.sequence();
  const oid = readAlgorithm(spki);
  spki.bitString();
  spki.end();
  return oid;
}

/** The content of an explicit extensions tag; a repeated extension is an error (RFC 5280 §4.2). */
export function readExtensions(reader: DerReader): ReadonlyMap<string, X509Extension> {
  const list = reader.sequence();
  reader.end();
  const extensions = new Map<string, X509Extension>();
  while (!list.atEnd) {
    const extension = list.sequence();
    const oid = extension.oid();
    // Some vendors spell out the DEFAULT FALSE; it is unambiguous, so it is read.
    const critical = extension.nextIs(DER_TAG.boolean) && extension.boolean();
    const value = extension.octetString();
    extension.end();
    if (extensions.has(oid)) list.fail(`has the extension ${oid} twice`);
    if (extensions.size === MAX_EXTENSIONS) list.fail(`has more than ${MAX_EXTENSIONS} extensions`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

const ASCII_TAGS: readonly number[] = [DER_TAG.printableString, DER_TAG.ia5String];

function readText(reader: DerReader): string {
  if (reader.nextIs(DER_TAG.utf8String)) return reader.utf8String();
  const { tag, content } = reader.element();
  const text = Buffer.from(content).toString('latin1');
  // Other string types (T61, BMP) are told apart by their octets, never by a guess at their meaning.
  return ASCII_TAGS.includes(tag) && /^[\x20-\x7e]*$/.test(text)
    ? text
    : `#${Buffer.from(content).toString('hex')}`;
}
