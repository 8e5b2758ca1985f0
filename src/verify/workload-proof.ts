/** Workload Proof Tokens (draft-ietf-wimse-wpt §2): a WIT, and the proof that its key is the sender's. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { WIT_HEADER, WPT_HEADER, WPT_TYP } from '../wire/credential-claims.ts';
import { fieldValues, trimOws, type FieldLine } from '../wire/field-lines.ts';
import { decodeJwt, type DecodedJwt } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { DELEGATION_CHAIN_HEADER, wimseAudience } from '../wire/profiles.ts';
import { verifySignature } from '../wire/public-key.ts';
import type { TargetUri } from '../wire/target-uri.ts';
import { normaliseTyp } from '../wire/typ.ts';
import type { ConfirmedToken } from './confirmed-token.ts';
import { spendNonce, type NonceStore } from './nonce-store.ts';
import { verifyWit, type WitTrust } from './wit.ts';

export interface WorkloadProofExpectations {
  /** Every field line as received. */
  readonly headers: readonly FieldLine[];
  /** The target of this request, from `rebuildTarget`. */
  readonly target: TargetUri;
  readonly wit: WitTrust;
  /** Single use of (thumbprint, jti), shared by all replicas. */
  readonly nonceStore: NonceStore;
  /** How far ahead `exp` may be, seconds; default 300. */
  readonly maxLifeSeconds?: number;
  /** Default 5. */
  readonly clockSkewSeconds?: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

export interface VerifiedWorkloadProof {
  /** Its WIT. */
  readonly workload: ConfirmedToken;
  readonly jti: string;
  /** `oth`, compared: hashes of fields by lower-case name. No other field's token may be relied on. */
  readonly otherTokens: Readonly<Record<string, string>>;
}

const TXN_TOKEN_HEADER = 'txn-token';
const HEADER_PARAMETERS = new Set(['alg', 'typ', 'kid']);
const MAX_JTI_LENGTH = 256;
const MAX_OTHER_TOKENS = 32;

/**
 * Verifies the WIT and the WPT of a request and spends the proof's `jti`. A proof binds the URI without its query:
 * not the method, the query or the body, so it never stands in for an HTTP message signature (S3).
 * @throws KeydError `malformed_jws`, `verification_failed`, `signature_invalid`, `replayed`, `replay_check_unavailable`
 */
export async function verifyWorkloadProof(
  expected: WorkloadProofExpectations,
): Promise<VerifiedWorkloadProof> {
  const {
    clock = Date.now,
    clockSkewSeconds = 5,
    headers,
    maxLifeSeconds = 300,
    nonceStore,
    target,
  } = expected;
  const nowSeconds = Math.floor(clock() / 1000);
  const wit = single(headers, WIT_HEADER);
  const workload = verifyWit(wit, expected.wit, { nowSeconds, clockSkewSeconds });
  const proof = decodeJwt(single(headers, WPT_HEADER));
  checkSignature(proof, workload);
  const { aud, exp, jti, wth } = proof.claims;
  if (aud !== wimseAudience(target)) refuse('is for another URI');
  if (typeof exp !== 'number' || !Number.isSafeInteger(exp)) return refuse('has no exp in whole seconds');
  if (exp <= nowSeconds - clockSkewSeconds) refuse('has expired');
  if (exp > nowSeconds + maxLifeSeconds + clockSkewSeconds)
    refuse(`lives longer than ${maxLifeSeconds} seconds`);
  if (!isHashOf(wth, wit)) refuse('is for another WIT');
  const otherTokens = checkTokens(proof, headers);
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI_LENGTH) return refuse('has no jti');
  // Keys of proofs and of signatures share a store: the prefix keeps a jti from being a signature nonce.
  await spendNonce(nonceStore, workload.thumbprint, `wpt ${jti}`, exp + clockSkewSeconds + 60);
  return { workload, jti, otherTokens };
}

function checkSignature(
  { header, signature, signingInput }: DecodedJwt,
  { publicJwk }: ConfirmedToken,
): void {
  const unknown = Object.keys(header).find((name) => !HEADER_PARAMETERS.has(name));
  if (unknown !== undefined)
    refuse(`has the header parameter ${unknown.slice(0, 32)}, which is not understood here`);
  if (header['typ'] === undefined || normaliseTyp(header['typ']) !== WPT_TYP)
    refuse(`has not the typ ${WPT_TYP}`);
  if (header.alg !== publicJwk.alg)
    refuse(`says alg ${header.alg.slice(0, 16)}, its key signs with ${publicJwk.alg}`);
  if (!verifySignature(publicJwk, Buffer.from(signingInput), signature)) {
    throw new KeydError('signature_invalid', 'the signature of the WPT does not verify');
  }
}

/** A token that is there must be bound, and one that is bound must be there. */
function checkTokens(
  { claims }: DecodedJwt,
  headers: readonly FieldLine[],
): Readonly<Record<string, string>> {
  const authorization = optional(headers, 'authorization');
  const accessToken = authorization === undefined ? undefined : authorization.replace(/^[^ ]+ +/, '');
  checkHash('ath', claims['ath'], accessToken);
  checkHash('tth', claims['tth'], optional(headers, TXN_TOKEN_HEADER));
  const others = readOthers(claims['oth']);
  for (const [name, hash] of Object.entries(others)) checkHash(`oth.${name}`, hash, optional(headers, name));
  const chain = optional(headers, DELEGATION_CHAIN_HEADER);
  if (chain !== undefined && !Object.hasOwn(others, DELEGATION_CHAIN_HEADER)) {
    refuse(`has no hash of ${DELEGATION_CHAIN_HEADER} in its oth`);
  }
  return others;
}

function readOthers(oth: unknown): Readonly<Record<string, string>> {
  if (oth === undefined) return {};
  if (typeof oth !== 'object' || oth === null || Array.isArray(oth))
    return refuse('has an oth that is no object');
  const entries = Object.entries(oth);
  if (entries.length > MAX_OTHER_TOKENS) refuse(`has more than ${MAX_OTHER_TOKENS} hashes in its oth`);
  return Object.fromEntries(
    entries.map(([name, hash]) =>
      typeof hash === 'string' && name === name.toLowerCase()
        ? [name, hash]
        : refuse('has an oth that is not of hashes by lower-case field name'),
    ),
  );
}

function checkHash(claim: string, hash: unknown, token: string | undefined): void {
  if (token === undefined && hash === undefined) return;
  if (token === undefined) refuse(`has ${claim.slice(0, 64)}, and the request has no such token`);
  else if (!isHashOf(hash, token)) refuse(`has no ${claim.slice(0, 64)} of the token in this request`);
}

function isHashOf(given: unknown, token: string): boolean {
  if (typeof given !== 'string') return false;
  const wanted = Buffer.from(createHash('sha256').update(token, 'ascii').digest('base64url'), 'latin1');
  const said = Buffer.from(given, 'latin1');
  return said.length === wanted.length && timingSafeEqual(said, wanted);
}

function single(headers: readonly FieldLine[], name: string): string {
  return optional(headers, name) ?? refuse(`is not there: the request needs one ${name} field`);
}

function optional(headers: readonly FieldLine[], name: string): string | undefined {
  const [value, ...more] = fieldValues(headers, name);
  if (more.length > 0) refuse(`can not be compared: the field ${name.slice(0, 64)} is repeated`);
  return value === undefined ? undefined : trimOws(value);
}

function refuse(reason: string): never {
  throw new KeydError('verification_failed', `the WPT ${reason}`);
}
