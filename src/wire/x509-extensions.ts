/** The certificate extensions that paths and profiles are judged by (RFC 5280 §4.2.1). */
import { contextTag, DER_TAG, readWhole, type DerReader } from './der.ts';
import type { X509Fields } from './x509.ts';

export const EXTENSION = {
  subjectDirectoryAttributes: '2.5.29.9',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  certificatePolicies: '2.5.29.32',
  policyMappings: '2.5.29.33',
  authorityKeyIdentifier: '2.5.29.35',
  policyConstraints: '2.5.29.36',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** Bit numbers of KeyUsage, §4.2.1.3. */
export const KEY_USAGE = {
  digitalSignature: 0,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
} as const;

export type KeyUsageName = keyof typeof KEY_USAGE;

export interface BasicConstraints {
  readonly ca: boolean;
  readonly pathLength: number | undefined;
}

const MAX_PATH_LENGTH = 255;
const MAX_LIST = 32;

/** §4.2.1.9; undefined where absent, which means: not a CA. @throws KeydError `malformed_structure` */
export function basicConstraints(certificate: X509Fields): BasicConstraints | undefined {
  return readExtension(certificate, EXTENSION.basicConstraints, 'basicConstraints', (reader) => {
    const constraints = reader.sequence();
    const ca = constraints.nextIs(DER_TAG.boolean) && constraints.boolean();
    const pathLength = constraints.atEnd ? undefined : constraints.smallInteger(MAX_PATH_LENGTH);
    constraints.end();
    return { ca, pathLength };
  });
}

/** Whether `usage` is set; undefined where the extension is absent. @throws KeydError `malformed_structure` */
export function hasKeyUsage(certificate: X509Fields, usage: KeyUsageName): boolean | undefined {
  return readExtension(certificate, EXTENSION.keyUsage, 'keyUsage', (reader) => {
    const { octets } = reader.bitString();
    const bit = KEY_USAGE[usage];
    return ((octets[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0;
  });
}

/** Purposes as object identifiers, in order, §4.2.1.12; undefined where absent. @throws `malformed_structure` */
export function extendedKeyUsage(certificate: X509Fields): readonly string[] | undefined {
  return readExtension(certificate, EXTENSION.extendedKeyUsage, 'extendedKeyUsage', (reader) => {
    const purposes: string[] = [];
    const list = reader.sequence();
    do {
      if (purposes.length === MAX_LIST) list.fail(`has more than ${MAX_LIST} purposes`);
      purposes.push(list.oid());
    } while (!list.atEnd);
    return purposes;
  });
}

/** Hex of the subject key identifier, §4.2.1.2. @throws KeydError `malformed_structure` */
export function subjectKeyIdentifier(certificate: X509Fields): string | undefined {
  return readExtension(certificate, EXTENSION.subjectKeyIdentifier, 'subjectKeyIdentifier', (reader) =>
    Buffer.from(reader.octetString()).toString('hex'),
  );
}

/** Hex of keyIdentifier within authorityKeyIdentifier, §4.2.1.1. @throws KeydError `malformed_structure` */
export function authorityKeyIdentifier(certificate: X509Fields): string | undefined {
  return readExtension(certificate, EXTENSION.authorityKeyIdentifier, 'authorityKeyIdentifier', (reader) => {
    const identifier = reader.sequence();
    const keyIdentifier = contextTag(0, false);
    if (!identifier.nextIs(keyIdentifier)) return undefined;
    return Buffer.from(identifier.element(keyIdentifier).content).toString('hex');
  });
}

/** The directoryName alternatives of subjectAltName, each a Name as encoded. @throws `malformed_structure` */
export function directoryNames(certificate: X509Fields): readonly Uint8Array[] {
  const names = readExtension(certificate, EXTENSION.subjectAlternativeName, 'subjectAltName', (reader) => {
    const found: Uint8Array[] = [];
    const alternatives = reader.sequence();
    while (!alternatives.atEnd) {
      const { tag, content } = alternatives.element();
      if (tag === contextTag(4)) found.push(content);
      if (found.length > MAX_LIST) alternatives.fail(`has more than ${MAX_LIST} names`);
    }
    return found;
  });
  return names ?? [];
}

/** Reads the value of extension `oid`, which must fill it; undefined where absent. */
export function readExtension<T>(
  certificate: X509Fields,
  oid: string,
  what: string,
  read: (reader: DerReader) => T,
): T | undefined {
  const extension = certificate.extensions.get(oid);
  return extension === undefined ? undefined : readWhole(extension.value, what, read);
}
