/** PKCS#10 (RFC 2986) in two steps, because the key that signs it is in hardware. */
import forge from 'node-forge';
import { derBitString, derInteger, derSequence } from '../wire/der.ts';
import { jwkAlgorithm, type PublicJwk } from '../wire/jwk.ts';
import { publicKeyObject } from '../wire/public-key.ts';
import { signatureAlgorithmIdentifier, x509SignatureOctets } from '../wire/signature-algorithm.ts';
import { EXTENSION } from '../wire/x509-extensions.ts';

const { asn1 } = forge;
type Asn1 = forge.asn1.Asn1;

const VERSION_1 = 0;
const OID = {
  commonName: '2.5.4.3',
  organizationName: '2.5.4.10',
  /** RFC 2985 §5.4.2. */
  extensionRequest: '1.2.840.113549.1.9.14',
} as const;

/** RFC 5280 §4.2.1.6, GeneralName choices. */
const GENERAL_NAME = { dns: 2, uri: 6 } as const;

export interface CsrSubject {
  readonly commonName?: string;
  readonly organization?: string;
}

export interface CsrNames {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

export interface CsrDraft {
  /** CertificationRequestInfo, DER: what is signed. */
  readonly toBeSigned: Uint8Array;
  /** DER of the whole request, from a JOSE signature. */
  assemble(signature: Uint8Array): Uint8Array;
}

/** A request for this key, with an extensionRequest for its names where there are any. */
export function buildCsrInfo(publicJwk: PublicJwk, subject: CsrSubject, names: CsrNames): CsrDraft {
  const algorithm = jwkAlgorithm(publicJwk);
  const spki = publicKeyObject(publicJwk).export({ format: 'der', type: 'spki' });
  const toBeSigned = derSequence(derInteger(VERSION_1), distinguishedName(subject), spki, attributes(names));
  return {
    toBeSigned,
    assemble: (signature) =>
      derSequence(
        toBeSigned,
        signatureAlgorithmIdentifier(algorithm),
        derBitString(x509SignatureOctets(algorithm, signature)),
      ),
  };
}

/** A request with an empty subject and one URI name, as the issuer wants it for an agent's key. */
export function buildAgentCsr(publicJwk: PublicJwk, uri: string): CsrDraft {
  return buildCsrInfo(publicJwk, {}, { uris: [uri], dnsNames: [] });
}

function distinguishedName({ commonName, organization }: CsrSubject): Uint8Array {
  const attribute = (oid: string, value: string | undefined): readonly Asn1[] =>
    value === undefined ? [] : [set(sequence(identifier(oid), utf8(value)))];
  return encode(
    sequence(...attribute(OID.organizationName, organization), ...attribute(OID.commonName, commonName)),
  );
}

function attributes({ uris, dnsNames }: CsrNames): Uint8Array {
  const names = [
    ...uris.map((uri) => generalName(GENERAL_NAME.uri, uri)),
    ...dnsNames.map((name) => generalName(GENERAL_NAME.dns, name)),
  ];
  // RFC 2986 §4.1: [0] IMPLICIT SET OF Attribute, there even when it is empty.
  const content = names.length === 0 ? [] : [extensionRequest(names)];
  return encode(context(0, true, content));
}

function extensionRequest(names: Asn1[]): Asn1 {
  const value = asn1.toDer(sequence(...names)).getBytes();
  const subjectAltName = sequence(
    identifier(EXTENSION.subjectAlternativeName),
    asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OCTETSTRING, false, value),
  );
  return sequence(identifier(OID.extensionRequest), set(sequence(subjectAltName)));
}

function generalName(choice: number, ia5: string): Asn1 {
  return context(choice, false, ia5);
}

function context(tag: number, constructed: boolean, content: string | Asn1[]): Asn1 {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- forge types every tag number as a universal one
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag, constructed, content);
}

function sequence(...content: Asn1[]): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, content);
}

function set(...content: Asn1[]): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, content);
}

function identifier(oid: string): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(oid).getBytes());
}

function utf8(value: string): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.UTF8, false, forge.util.encodeUtf8(value));
}

function encode(value: Asn1): Uint8Array {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}
