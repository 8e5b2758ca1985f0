/** Whose key signed: found through a credential that configuration trusts, never through the message alone. */
import type { AssuranceLevel } from '../wire/assurance.ts';
import { WIT_HEADER } from '../wire/credential-claims.ts';
import { combinedFieldValue, fieldValues, type FieldLine } from '../wire/field-lines.ts';
import { jwkThumbprint, type PublicJwk } from '../wire/jwk.ts';
import { KeydError } from '../wire/problem.ts';
import type { ProfileName } from '../wire/profiles.ts';
import { SfToken } from '../wire/structured-fields.ts';
import { isInnerList, parseSfDictionary } from '../wire/structured-fields-parse.ts';
import { verifyAgentToken, type AgentTokenIssuer } from './agent-token.ts';
import type { ConfirmedToken } from './confirmed-token.ts';
import { verifyWit, type TokenClock, type WitTrust } from './wit.ts';

/** An agent whose key the relying party itself has on record. */
export interface PinnedAgent {
  readonly id: string;
  readonly jwk: PublicJwk;
  /** What the relying party believes about the key, on its own authority. */
  readonly assurance: AssuranceLevel;
}

/** Where keys may come from; each source is used only if it is configured. */
export interface CredentialSources {
  /** AAuth agent tokens in Signature-Key (profile aauth). */
  readonly agentTokens?: { readonly issuers: readonly AgentTokenIssuer[] };
  /** WIT in Workload-Identity-Token (profiles rfc9421 and wimse). */
  readonly wit?: WitTrust;
  /** A directory by `keyid`, the RFC 7638 thumbprint, for requests without a WIT (profile rfc9421). */
  readonly pinnedKey?: (keyid: string) => PinnedAgent | undefined | Promise<PinnedAgent | undefined>;
}

/** The agent that holds the signing key. */
export interface VerifiedAgent {
  /** SPIFFE ID, AAuth identifier, or the directory's own id. */
  readonly id: string;
  readonly publicJwk: PublicJwk;
  /** RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string;
  readonly assurance: AssuranceLevel;
  readonly credential: 'agent-token' | 'wit' | 'pinned-key';
  /** Claims of the token; empty for a pinned key. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/**
 * The agent for a request, its credential verified.
 * @throws KeydError `malformed_jws`, `verification_failed`, `signature_invalid`
 */
export async function signingAgent(
  profile: ProfileName,
  headers: readonly FieldLine[],
  keyid: string | undefined,
  sources: CredentialSources,
  clock: TokenClock,
): Promise<VerifiedAgent> {
  const agent = await credentialOf(profile, headers, keyid, sources, clock);
  if (keyid !== undefined && keyid !== agent.thumbprint)
    refuse('the keyid is not the thumbprint of the confirmed key');
  return agent;
}

function credentialOf(
  profile: ProfileName,
  headers: readonly FieldLine[],
  keyid: string | undefined,
  sources: CredentialSources,
  clock: TokenClock,
): VerifiedAgent | Promise<VerifiedAgent> {
  switch (profile) {
    case 'aauth':
      return fromSignatureKey(headers, sources, clock);
    case 'wimse':
      return fromWit(headers, sources, clock);
    case 'rfc9421':
      return fromKeyid(headers, keyid, sources, clock);
  }
}

function fromSignatureKey(
  headers: readonly FieldLine[],
  sources: CredentialSources,
  clock: TokenClock,
): VerifiedAgent {
  if (sources.agentTokens === undefined) return refuse('agent tokens are not accepted here');
  const token = verifyAgentToken(signatureKey(headers).jwt, sources.agentTokens.issuers, clock);
  return fromToken(token, 'agent-token');
}

async function fromKeyid(
  headers: readonly FieldLine[],
  keyid: string | undefined,
  sources: CredentialSources,
  clock: TokenClock,
): Promise<VerifiedAgent> {
  if (keyid === undefined) return refuse('the signature has no keyid');
  // A WIT that is there must hold: falling back to another source would hide a bad credential.
  if (sources.wit !== undefined && fieldValues(headers, WIT_HEADER).length > 0) {
    return fromToken(verifyWit(combinedFieldValue(headers, WIT_HEADER), sources.wit, clock), 'wit');
  }
  const pinned = await sources.pinnedKey?.(keyid);
  if (pinned === undefined)
    return refuse('no accepted credential for the signing key: no WIT, and no pinned key for the keyid');
  const thumbprint = jwkThumbprint(pinned.jwk);
  const { id, jwk, assurance } = pinned;
  return { id, publicJwk: jwk, thumbprint, assurance, credential: 'pinned-key', claims: {} };
}

function fromWit(
  headers: readonly FieldLine[],
  { wit }: CredentialSources,
  clock: TokenClock,
): VerifiedAgent {
  if (wit === undefined) return refuse('WITs are not accepted here');
  if (fieldValues(headers, WIT_HEADER).length !== 1)
    refuse('there must be one Workload-Identity-Token field');
  return fromToken(verifyWit(combinedFieldValue(headers, WIT_HEADER), wit, clock), 'wit');
}

function fromToken(token: ConfirmedToken, credential: 'agent-token' | 'wit'): VerifiedAgent {
  const { subject, publicJwk, thumbprint, assurance, claims } = token;
  return { id: subject, publicJwk, thumbprint, assurance, credential, claims };
}

/**
 * The one member of Signature-Key: its label and the token of scheme `jwt`, the only one AAuth resources take.
 * @throws KeydError `invalid_header`, `verification_failed`
 */
export function signatureKey(headers: readonly FieldLine[]): {
  readonly label: string;
  readonly jwt: string;
} {
  if (fieldValues(headers, 'signature-key').length !== 1) refuse('there must be one Signature-Key field');
  const [entry, ...more] = [
    ...parseSfDictionary(combinedFieldValue(headers, 'signature-key'), 'signature-key'),
  ];
  if (entry === undefined || more.length > 0) return refuse('Signature-Key must have one member');
  const [label, member] = entry;
  if (isInnerList(member) || !(member.value instanceof SfToken) || member.value.text !== 'jwt') {
    return refuse('the scheme of Signature-Key is not jwt');
  }
  const [parameter, ...others] = member.parameters;
  if (parameter?.[0] !== 'jwt' || typeof parameter[1] !== 'string' || others.length > 0) {
    return refuse('Signature-Key of scheme jwt must have the parameter jwt and no other');
  }
  return { label, jwt: parameter[1] };
}

function refuse(reason: string): never {
  throw new KeydError('verification_failed', reason);
}
