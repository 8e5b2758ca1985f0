/** Path from an EK certificate to a pinned root (RFC 5280 §6, as far as EK hierarchies use it). */
import type { KeyObject } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { certificatePublicKey, readName, type X509Fields } from '../../wire/x509.ts';
import { verifySigned } from '../../wire/x509-signature.ts';
import {
  authorityKeyIdentifier,
  basicConstraints,
  EXTENSION,
  extendedKeyUsage,
  hasKeyUsage,
  subjectKeyIdentifier,
} from '../../wire/x509-extensions.ts';
import { fingerprint, type EndorsementRoot } from './endorsement-roots.ts';
import { EK_CERTIFICATE_PURPOSE } from './tcg-oids.ts';
import { isSignedBy, type RevocationList } from './revocation-list.ts';

export interface PathInput {
  readonly leaf: X509Fields;
  /** Untrusted: from the host or from a bundle. */
  readonly intermediates: readonly X509Fields[];
  readonly roots: readonly EndorsementRoot[];
  readonly revocationLists: readonly RevocationList[];
  readonly nowSeconds: number;
  /** Chips outlive the certificates their vendors gave them, so this is the operator's choice. */
  readonly expiredLeaf: 'accept' | 'refuse';
}

export interface CertificatePath {
  readonly root: EndorsementRoot;
  /** Leaf first, the root's own certificate last. */
  readonly certificates: readonly X509Fields[];
}

const MAX_PATH_CERTIFICATES = 6;
// An attacker chooses the intermediates; this bounds the signatures they can make us verify.
const MAX_SIGNATURE_CHECKS = 24;
const MIN_RSA_BITS = 2048;
const MAX_NAME_SHOWN = 100;

/** Critical extensions that the walk below honours or that need no processing here. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  EXTENSION.keyUsage,
  EXTENSION.basicConstraints,
  EXTENSION.extendedKeyUsage,
  EXTENSION.subjectAlternativeName,
  // Any policy is acceptable, none is demanded, so there is nothing to process (§6.1.1 c to e).
  EXTENSION.certificatePolicies,
]);

/**
 * Finds a path from the leaf to one of the roots and checks every certificate on it: issuer and subject, key
 * identifiers, signature, validity, CA, keyCertSign, path length, EK purpose, revocation.
 * @throws KeydError `evidence_invalid` with the reason of the attempt that came furthest,
 *   `malformed_structure` for an extension that can not be read
 */
export function findPath(input: PathInput): CertificatePath {
  checkValidity(input.leaf, input, 'EK certificate', input.expiredLeaf === 'accept');
  checkUnderstood(input.leaf, 'EK certificate');
  return new PathWalk(input).walk([input.leaf]);
}

interface Candidate {
  readonly certificate: X509Fields;
  readonly root: EndorsementRoot | undefined;
}

class PathWalk {
  readonly #input: PathInput;
  readonly #candidates: readonly Candidate[];
  #signatureChecks = 0;
  #furthest = { depth: 0, reason: '' };

  constructor(input: PathInput) {
    this.#input = input;
    const pinned = new Set(input.roots.map((root) => root.sha256));
    const intermediates = input.intermediates.filter(
      (certificate) => !pinned.has(fingerprint(certificate.encoded)),
    );
    this.#candidates = [
      ...input.roots.map((root) => ({ certificate: root.certificate, root })),
      ...intermediates.map((certificate) => ({ certificate, root: undefined })),
    ];
  }

  walk(leaf: readonly [X509Fields]): CertificatePath {
    const found = this.#extend(leaf);
    if (found !== undefined) return found;
    throw new KeydError('evidence_invalid', `no path to a pinned root: ${this.#furthest.reason}`);
  }

  /** Depth first; a candidate that fails is remembered and the next one tried. */
  #extend(path: readonly X509Fields[]): CertificatePath | undefined {
    const subject = path.at(-1);
    if (subject === undefined) return undefined;
    this.#note(
      path.length,
      `nobody known issued ${describe(subject)}; its issuer is ${describeName(subject.issuer)}`,
    );
    for (const { certificate, root } of this.#candidates) {
      if (!sameOctets(certificate.subject, subject.issuer) || path.includes(certificate)) continue;
      const reason = this.#refusal(certificate, path, subject);
      if (reason !== undefined) {
        this.#note(path.length + 0.5, `${describe(certificate)} ${reason}`);
        continue;
      }
      const longer = [...path, certificate];
      if (root !== undefined) return { root, certificates: longer };
      if (longer.length >= MAX_PATH_CERTIFICATES) {
        this.#note(longer.length, `the path is longer than ${MAX_PATH_CERTIFICATES} certificates`);
        continue;
      }
      const found = this.#extend(longer);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Why `issuer` may not stand above `path`, or undefined. */
  #refusal(issuer: X509Fields, path: readonly X509Fields[], subject: X509Fields): string | undefined {
    const authority = authorityKeyIdentifier(subject);
    const identifier = subjectKeyIdentifier(issuer);
    if (authority !== undefined && identifier !== undefined && authority !== identifier) {
      return `has another key identifier than ${describe(subject)} asks for`;
    }
    const constraints = basicConstraints(issuer);
    if (constraints?.ca !== true) return 'is not a CA';
    if (hasKeyUsage(issuer, 'keyCertSign') !== true) return 'may not sign certificates (keyCertSign)';
    // Certificates between this one and the leaf; self-issued ones do not count (§6.1.4 l).
    const below = path.slice(1).filter((one) => !sameOctets(one.subject, one.issuer)).length;
    if (constraints.pathLength !== undefined && below > constraints.pathLength) {
      return `allows ${constraints.pathLength} CAs below it, the path has ${below}`;
    }
    const purposes = extendedKeyUsage(issuer);
    if (purposes !== undefined && !purposes.includes(EK_CERTIFICATE_PURPOSE))
      return 'is not for EK certificates (EKU)';
    const critical = notUnderstood(issuer);
    if (critical !== undefined) return `has the critical extension ${critical}, which is not understood here`;
    const late = outsideValidity(issuer, this.#input.nowSeconds);
    if (late !== undefined) return late;

    this.#signatureChecks += 1;
    if (this.#signatureChecks > MAX_SIGNATURE_CHECKS) return 'was not tried: too many certificates';
    const key = certificatePublicKey(issuer);
    if (isWeak(key)) return `has an RSA key below ${MIN_RSA_BITS} bits`;
    if (!verifySigned(subject, key))
      return `did not sign ${describe(subject)}, or not by an accepted algorithm`;
    return this.#revocation(subject, issuer, key);
  }

  #revocation(subject: X509Fields, issuer: X509Fields, key: KeyObject): string | undefined {
    const lists = this.#input.revocationLists.filter(
      (list) => sameOctets(list.issuer, issuer.subject) && isSignedBy(list, key),
    );
    for (const list of lists) {
      if (hasKeyUsage(issuer, 'cRLSign') !== true) return 'may not sign revocation lists (cRLSign)';
      if (list.revoked.has(subject.serialNumber)) return `has revoked ${describe(subject)}`;
    }
    const stale =
      lists.length > 0 &&
      lists.every((list) => (list.nextUpdateSeconds ?? Infinity) < this.#input.nowSeconds);
    return stale ? 'has only revocation lists that are out of date: bring a new one' : undefined;
  }

  #note(depth: number, reason: string): void {
    if (depth > this.#furthest.depth) this.#furthest = { depth, reason };
  }
}

function checkUnderstood(certificate: X509Fields, what: string): void {
  const critical = notUnderstood(certificate);
  if (critical !== undefined) {
    throw new KeydError(
      'evidence_invalid',
      `the ${what} has the critical extension ${critical}, unknown here`,
    );
  }
}

function notUnderstood(certificate: X509Fields): string | undefined {
  const [oid] =
    [...certificate.extensions].find(([id, { critical }]) => critical && !UNDERSTOOD.has(id)) ?? [];
  return oid;
}

function checkValidity(
  certificate: X509Fields,
  input: PathInput,
  what: string,
  mayHaveExpired: boolean,
): void {
  if (mayHaveExpired && certificate.notBeforeSeconds <= input.nowSeconds) return;
  const reason = outsideValidity(certificate, input.nowSeconds);
  if (reason !== undefined) throw new KeydError('appraisal_denied', `the ${what} ${reason}`);
}

function outsideValidity(certificate: X509Fields, nowSeconds: number): string | undefined {
  if (nowSeconds < certificate.notBeforeSeconds)
    return `is not valid before ${isoTime(certificate.notBeforeSeconds)}`;
  if (nowSeconds > certificate.notAfterSeconds) return `expired on ${isoTime(certificate.notAfterSeconds)}`;
  return undefined;
}

function isWeak(key: KeyObject): boolean {
  const bits = key.asymmetricKeyDetails?.modulusLength;
  return bits !== undefined && bits < MIN_RSA_BITS;
}

function describe(certificate: X509Fields): string {
  return describeName(certificate.subject, `the certificate ${certificate.serialNumber}`);
}

function describeName(name: Uint8Array, otherwise = 'unnamed'): string {
  const attributes = readName(name);
  const commonName = attributes.find(({ type }) => type === '2.5.4.3') ?? attributes.at(-1);
  return commonName === undefined ? otherwise : JSON.stringify(commonName.value.slice(0, MAX_NAME_SHOWN));
}

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(b);
}
