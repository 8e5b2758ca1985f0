/** Trust anchors for EK certificates: what the operator brings, kept only where a fingerprint vouches for it. */
import { createHash } from 'node:crypto';
import { KeydError } from '../../wire/problem.ts';
import { parseCertificate, type X509Fields } from '../../wire/x509.ts';
import { PINNED_ROOTS, type PinnedRoot } from './vendor-roots.ts';

/** `vendor`: vouches for chips. `virtual`: for a cloud provider's vTPMs. `test`: for nothing; software. */
export type EndorsementKind = 'vendor' | 'virtual' | 'test';

export interface EndorsementRoot {
  readonly kind: EndorsementKind;
  readonly vendor: string;
  readonly name: string;
  /** SHA-256 of the DER, lower-case hex. */
  readonly sha256: string;
  readonly certificate: X509Fields;
}

export interface ImportedRoots {
  readonly roots: readonly EndorsementRoot[];
  /** SHA-256 of those that no fingerprint vouches for. */
  readonly refused: readonly string[];
}

const PINNED: ReadonlyMap<string, PinnedRoot> = new Map(PINNED_ROOTS.map((root) => [root.sha256, root]));

const MAX_BUNDLE_CHARACTERS = 4 * 1024 * 1024;

/**
 * Takes a PEM bundle and keeps the certificates whose SHA-256 is pinned; text around them is ignored.
 * @throws KeydError `configuration_invalid` for a bundle without certificates, `malformed_structure` for one
 *   that is pinned and can not be read
 */
export function importRoots(bundlePem: string): ImportedRoots {
  const roots = new Map<string, EndorsementRoot>();
  const refused: string[] = [];
  for (const encoded of readPemBundle(bundlePem)) {
    const sha256 = fingerprint(encoded);
    const pinned = PINNED.get(sha256);
    if (pinned === undefined) refused.push(sha256);
    else roots.set(sha256, { ...pinned, certificate: parseCertificate(encoded, pinned.name) });
  }
  return { roots: [...roots.values()], refused };
}

/**
 * A root that the operator configures by hand. Whatever it claims to be, it vouches for `test` evidence only,
 * unless its fingerprint is pinned.
 * @throws KeydError `malformed_structure`
 */
export function configuredRoot(encoded: Uint8Array, name: string): EndorsementRoot {
  const sha256 = fingerprint(encoded);
  const certificate = parseCertificate(encoded, name);
  const pinned = PINNED.get(sha256);
  if (pinned !== undefined) return { ...pinned, certificate };
  return { kind: 'test', vendor: 'configured', name, sha256, certificate };
}

/** The DER of every certificate in a PEM bundle (RFC 7468 §5). @throws KeydError `configuration_invalid` */
export function readPemBundle(bundlePem: string): readonly Uint8Array[] {
  if (bundlePem.length > MAX_BUNDLE_CHARACTERS) {
    throw new KeydError('configuration_invalid', 'the certificate bundle is larger than 4 MiB');
  }
  const blocks = bundlePem.matchAll(
    /^-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)^-----END CERTIFICATE-----\s*$/gm,
  );
  const certificates = Array.from(blocks, ([, base64 = '']) => new Uint8Array(Buffer.from(base64, 'base64')));
  const begun = bundlePem.split('-----BEGIN CERTIFICATE-----').length - 1;
  if (certificates.length === 0 || certificates.length !== begun) {
    throw new KeydError(
      'configuration_invalid',
      'the bundle holds no PEM certificate, or one that is damaged',
    );
  }
  return certificates;
}

/** SHA-256 of a certificate's DER, lower-case hex. */
export function fingerprint(encoded: Uint8Array): string {
  return createHash('sha256').update(encoded).digest('hex');
}
