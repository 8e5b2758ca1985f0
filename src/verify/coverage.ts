/** What a signature must cover and say before it is worth verifying (DECISIONS 19, S4, S7). */
import { fieldValues } from '../wire/field-lines.ts';
import { componentIdentifier } from '../wire/http-signature.ts';
import { KeydError } from '../wire/problem.ts';
import { profileEntry, requiredComponents, type ProfileName } from '../wire/profiles.ts';
import { signatureParameter, type ReceivedSignature } from '../wire/signature-fields.ts';
import type { ReceivedRequest } from './received-request.ts';

export interface TimeRules {
  /** Unix time, seconds. */
  readonly nowSeconds: number;
  readonly maxAgeSeconds: number;
  readonly clockSkewSeconds: number;
}

export interface CheckedParameters {
  /** Unix time, seconds. */
  readonly created: number;
  readonly nonce: string;
  readonly keyid: string | undefined;
  readonly alg: string | undefined;
  /** `wimse-aud`; not compared with anything yet. */
  readonly audience: string | undefined;
}

/** 8 octets in base64url; shorter ones collide by chance. */
const MIN_NONCE_LENGTH = 11;
const MAX_NONCE_LENGTH = 256;

/**
 * Every component that the profile demands is covered, as a whole, and every covered field occurs once.
 * @throws KeydError `verification_failed` naming all that is missing
 */
export function checkCoverage(
  signature: ReceivedSignature,
  profile: ProfileName,
  request: ReceivedRequest,
): void {
  const names = new Set(request.headers.map(([name]) => name.toLowerCase()));
  const hasContent = (request.body !== undefined && request.body.length > 0) || names.has('content-digest');
  const covered = new Set(
    signature.components.filter(({ parameters }) => parameters.length === 0).map(({ name }) => name),
  );
  const missing = requiredComponents(profile, names, hasContent).filter((name) => !covered.has(name));
  if (missing.length > 0) refuse(`the signature does not cover ${missing.join(', ')}`);
  for (const component of signature.components) {
    const { name } = component;
    if (!name.startsWith('@') && fieldValues(request.headers, name).length > 1) {
      refuse(`the field ${componentIdentifier(component)} is covered but repeated`);
    }
  }
}

/**
 * The signature's parameters: all known, those the profile requires present, `created` within the window,
 * `expires` not passed, and no tag but an accepted one.
 * @throws KeydError `verification_failed`
 */
export function checkParameters(
  signature: ReceivedSignature,
  profile: ProfileName,
  acceptedTags: readonly string[],
  time: TimeRules,
): CheckedParameters {
  const { parameters } = signature;
  const entry = profileEntry(profile);
  for (const [name] of parameters) {
    if (!entry.knownParameters.includes(name))
      refuse(`the signature has the parameter ${name.slice(0, 32)}, which is not understood here`);
  }
  for (const name of entry.requiredParameters) {
    if (signatureParameter(parameters, name) === undefined) refuse(`the signature has no ${name}`);
  }
  const created = integerParameter(signature, 'created');
  const expires = integerParameter(signature, 'expires');
  const nonce = textParameter(signature, 'nonce');
  const tag = textParameter(signature, 'tag');
  if (created === undefined || nonce === undefined) return refuse('the signature has no created or no nonce');
  if (created > time.nowSeconds + time.clockSkewSeconds) refuse('the signature was created in the future');
  if (time.nowSeconds - created > time.maxAgeSeconds)
    refuse(`the signature is older than ${time.maxAgeSeconds} seconds`);
  if (expires !== undefined && expires <= time.nowSeconds - time.clockSkewSeconds)
    refuse('the signature has expired');
  if (nonce.length < MIN_NONCE_LENGTH || nonce.length > MAX_NONCE_LENGTH) {
    refuse(`the nonce is not of ${MIN_NONCE_LENGTH} to ${MAX_NONCE_LENGTH} characters`);
  }
  const tags = entry.tag === undefined ? acceptedTags : [entry.tag];
  if (tag !== undefined && !tags.includes(tag))
    refuse(`the signature is for another use: tag ${tag.slice(0, 64)}`);
  return {
    created,
    nonce,
    keyid: textParameter(signature, 'keyid'),
    alg: textParameter(signature, 'alg'),
    audience: textParameter(signature, 'wimse-aud'),
  };
}

function integerParameter(signature: ReceivedSignature, name: string): number | undefined {
  const value = signatureParameter(signature.parameters, name);
  if (value === undefined || (typeof value === 'number' && value >= 0)) return value;
  return refuse(`the signature's ${name} is no time in seconds`);
}

function textParameter(signature: ReceivedSignature, name: string): string | undefined {
  const value = signatureParameter(signature.parameters, name);
  if (value === undefined || typeof value === 'string') return value;
  return refuse(`the signature's ${name} is no string`);
}

function refuse(reason: string): never {
  throw new KeydError('verification_failed', reason);
}
