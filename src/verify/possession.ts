/** Step 6: the sender of this very request holds the key of the last link, and has signed the chain with it. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { fieldValues } from '../wire/field-lines.ts';
import { DELEGATION_CHAIN_HEADER } from '../wire/profiles.ts';
import type { TargetUri } from '../wire/target-uri.ts';
import type { DelegationClaims } from '../delegation/claims.ts';
import type { FieldLine } from '../wire/field-lines.ts';

/** The request that a chain came with, and what proves that its sender holds the key of the last link. */
export interface ProvenRequest {
  readonly method: string;
  readonly target: TargetUri;
  readonly headers: readonly FieldLine[];
  readonly body?: Uint8Array | undefined;
  readonly proof: PossessionProof;
  /** SPIFFE ID that a verified WIT gives the key of the proof; compared with the last link's. */
  readonly clientId?: string | undefined;
}

/** A proof that was verified, and what it binds. */
export type PossessionProof = MessageProof | DpopProof | WorkloadProof;

/** RFC 9421: binds what it covers. */
export interface MessageProof {
  readonly kind: 'http-message';
  /** Of the key: RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string;
  /** Names of the components that are covered as a whole. */
  readonly coveredComponents: readonly string[];
  /** `wimse-aud`, compared with the target. */
  readonly audience?: string | undefined;
}

/** RFC 9449: binds the method, the URI without its query, and by `ath` the chain as its access token. */
export interface DpopProof {
  readonly kind: 'dpop';
  readonly thumbprint: string;
  /** What the proof's `ath` was verified to be the hash of. */
  readonly accessToken: string;
}

/** draft-ietf-wimse-wpt: binds the URI without its query, and by `oth` the chain. */
export interface WorkloadProof {
  readonly kind: 'wpt';
  readonly thumbprint: string;
  /** Its `oth`: hashes of fields by lower-case name. */
  readonly otherTokens: Readonly<Record<string, string>>;
}

/** Why the proof does not show that the holder of the leaf's key sent this request with this chain; or undefined. */
export function possessionFault(
  chain: string,
  leaf: DelegationClaims,
  request: ProvenRequest,
): string | undefined {
  const { clientId, proof } = request;
  if (clientId !== undefined && clientId !== leaf.client_id) return 'the last link is for another agent';
  if (proof.thumbprint !== leaf.cnf.jkt) return 'the request is not by the key of the last link';
  switch (proof.kind) {
    case 'http-message':
      return coverageFault(proof, request);
    case 'dpop':
      return proof.accessToken === chain ? undefined : 'the proof’s ath is not of this chain';
    case 'wpt':
      return isHashOf(proof.otherTokens[DELEGATION_CHAIN_HEADER], chain)
        ? undefined
        : `the proof’s oth has not the hash of ${DELEGATION_CHAIN_HEADER}`;
  }
}

function coverageFault(
  { audience, coveredComponents }: MessageProof,
  { body, headers, target }: ProvenRequest,
): string | undefined {
  const covered = new Set(coveredComponents);
  const hasContent =
    (body !== undefined && body.length > 0) || fieldValues(headers, 'content-digest').length > 0;
  const bindsTarget =
    covered.has('@target-uri') ||
    (covered.has('@request-target') &&
      (covered.has('@authority') || audience === target.origin + target.path));
  const missing = [
    ...(covered.has(DELEGATION_CHAIN_HEADER) ? [] : [DELEGATION_CHAIN_HEADER]),
    ...(covered.has('@method') ? [] : ['@method']),
    ...(bindsTarget ? [] : ['@target-uri']),
    ...(hasContent && !covered.has('content-digest') ? ['content-digest'] : []),
    ...unboundFields(headers, covered),
  ];
  return missing.length === 0 ? undefined : `the request’s signature does not cover ${missing.join(', ')}`;
}

/** Fields that change what the content is. */
function unboundFields(headers: ProvenRequest['headers'], covered: ReadonlySet<string>): readonly string[] {
  return ['content-type', 'content-encoding'].filter(
    (name) => fieldValues(headers, name).length > 0 && !covered.has(name),
  );
}

function isHashOf(given: string | undefined, text: string): boolean {
  if (given === undefined) return false;
  const wanted = Buffer.from(createHash('sha256').update(text, 'ascii').digest('base64url'), 'latin1');
  const said = Buffer.from(given, 'latin1');
  return said.length === wanted.length && timingSafeEqual(said, wanted);
}
