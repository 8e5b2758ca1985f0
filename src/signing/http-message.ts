/** `sign/http-message`: RFC 9421 signatures in the profiles of wire/profiles.ts. */
import {
  intentLine,
  messageBinds,
  messageComponents,
  messageContent,
  messageMediaType,
  normalLine,
  type ReadContent,
} from '../policy/typed-parameters.ts';
import { algorithmEntry } from '../wire/algorithms.ts';
import { contentDigest } from '../wire/content-digest.ts';
import { WIT_HEADER } from '../wire/credential-claims.ts';
import { fieldValues, type FieldLine } from '../wire/field-lines.ts';
import { checkCallerHeaders } from '../wire/header-rules.ts';
import {
  component,
  signatureBase,
  signatureField,
  signatureInputField,
  type SignatureParameters,
} from '../wire/http-signature.ts';
import { KeydError } from '../wire/problem.ts';
import { DELEGATION_CHAIN_HEADER, profileEntry, wimseAudience, type Profile } from '../wire/profiles.ts';
import type { HttpMessageReply, HttpMessageRequest } from '../wire/socket/signing.ts';
import { serializeItem, serializeMember, SfToken, type SfBareItem } from '../wire/structured-fields.ts';
import { parseTargetUri, type TargetUri } from '../wire/target-uri.ts';
import { checkAauthCall } from './aauth-sub-agents.ts';
import { checkCarriedTokens } from './bound-token.ts';
import { issuedAtSeconds } from './daemon-time.ts';
import { expirySeconds, freshNonce, propose, type Draft, type DraftContext } from './draft.ts';
import { refuseIssuer } from './issuer-authority.ts';
import { workloadIdentityToken } from './workload-proof.ts';

/** S4. */
const MAX_LIFETIME_SECONDS = 60;
/** Verifiers of ours take no longer one. */
const MAX_NONCE_LENGTH = 256;
/** Tags that name signatures made by other rules than a caller's: the host's own calls, the profile wimse. */
const RESERVED_TAG = /^(?:agentkey|wimse)/;

/**
 * Builds the signature base over the request as it will be sent.
 * @throws KeydError `invalid_target_uri`, `invalid_header`, `invalid_component`, `time_not_acceptable`,
 *   `issuer_authority`, `token_not_bound`, `type_reserved`, `credential_unavailable`, `unsupported_algorithm`
 */
export function draftHttpMessage(
  context: DraftContext,
  request: HttpMessageRequest,
): Draft<HttpMessageReply> {
  const profile = profileEntry(request.profile);
  const target = parseTargetUri(request.targetUri);
  refuseIssuer(target, context.issuerAuthorities);
  checkAlgorithm(context);
  const read = messageContent(request.headers, request.body);
  const { content, lines } = read;
  if (request.profile === 'aauth') checkAauthCall(context, target, jsonBody(read));
  const added = daemonHeaders(context, request, read);
  const components = messageComponents(request.profile, [...lines, ...added], content, request.components);
  checkCallerHeaders(lines, {
    target,
    single: new Set(components),
    contentOctets: content.kind === 'octets' ? content.octets.length : undefined,
  });
  const headers = [...lines.map(normalLine), ...added];
  const authorization = checkCarriedTokens(headers, context.agent.kid, request.profile);
  const created = issuedAtSeconds(context.nowMs, request.created, 'created');
  const expires = expirySeconds(context, MAX_LIFETIME_SECONDS);
  const parameters = signatureParameters(context, request, { profile, target, created, expires });
  const covered = components.map((name) => component(name));
  const base = signatureBase(covered, parameters, { method: request.method, target, headers });
  const proposal = propose(context, {
    parameters: {
      operation: 'http-message',
      profile: request.profile,
      method: request.method,
      target,
      headers,
      components,
      mediaType: messageMediaType(headers),
      content,
      authorization,
      challenge: request.nonce,
      tag: profile.tag ?? request.tag,
    },
    octets: { kind: 'message', octets: Buffer.from(base, 'ascii') },
    binds: messageBinds(
      components,
      parameters.some(([name]) => name === 'wimse-aud'),
    ),
    times: { issuedAtMs: created * 1000, expiresAtMs: expires * 1000 },
  });
  return {
    proposal,
    assemble: (signature) => ({
      headers: {
        ...attachable(headers),
        'signature-input': signatureInputField(profile.label, covered, parameters),
        signature: signatureField(profile.label, signature),
      },
    }),
  };
}

function checkAlgorithm({ agent }: DraftContext): void {
  if (algorithmEntry(agent.algorithm).httpSignatureName === undefined) {
    throw new KeydError('unsupported_algorithm', `RFC 9421 has no name for ${agent.algorithm}`);
  }
}

/** Octets of a body of a JSON type. */
function jsonBody({ content, lines }: ReadContent): Uint8Array | undefined {
  if (content.kind !== 'octets') return undefined;
  return /[/+]json$/.test(messageMediaType(lines.map(normalLine)) ?? '') ? content.octets : undefined;
}

function daemonHeaders(
  context: DraftContext,
  request: HttpMessageRequest,
  { content, digest }: ReadContent,
): readonly FieldLine[] {
  const added: FieldLine[] = [];
  if (content.kind === 'octets') added.push(['content-digest', contentDigest(content.octets)]);
  if (digest !== undefined) added.push(['content-digest', digest]);
  // DT₀ alone says nothing that the agent's credentials do not; a sub-agent's chain is what it acts by.
  const { chain } = context;
  if (chain !== undefined && chain.tokens.length > 1) {
    added.push([DELEGATION_CHAIN_HEADER, chain.tokens.join('~')]);
  }
  if (request.profile === 'aauth') added.push(['signature-key', signatureKey(context)]);
  if (request.profile === 'wimse') {
    if (fieldValues(request.headers ?? [], WIT_HEADER).length > 0) {
      throw new KeydError('invalid_header', `${WIT_HEADER} is the daemon's to set in the profile wimse`);
    }
    added.push([WIT_HEADER, workloadIdentityToken(context)]);
  }
  if (request.intent !== undefined) added.push(...intentLine(request.intent));
  return added;
}

/** Signature-Key of the scheme jwt (draft-hardt-httpbis-signature-key): the agent token, whose cnf is this key. */
function signatureKey({ credentials }: DraftContext): string {
  const token = credentials?.agentToken;
  if (token === undefined) {
    throw new KeydError(
      'credential_unavailable',
      'this agent has no AAuth agent token; see `agentkey credential show`',
    );
  }
  return serializeMember('sig', serializeItem({ value: new SfToken('jwt'), parameters: [['jwt', token]] }));
}

interface MessageFacts {
  readonly profile: Profile;
  readonly target: TargetUri;
  /** Unix time, seconds. */
  readonly created: number;
  readonly expires: number;
}

function signatureParameters(
  context: DraftContext,
  request: HttpMessageRequest,
  { profile, target, created, expires }: MessageFacts,
): SignatureParameters {
  if (request.tag !== undefined && (profile.tag !== undefined || RESERVED_TAG.test(request.tag))) {
    throw new KeydError(
      'type_reserved',
      profile.tag === undefined
        ? `the tag ${request.tag} belongs to signatures that are not made here`
        : `signatures of the profile ${request.profile} have the tag ${profile.tag}`,
    );
  }
  const values: Readonly<Record<string, SfBareItem | undefined>> = {
    created,
    expires,
    nonce: signatureNonce(context, request.nonce),
    keyid: context.agent.kid,
    tag: profile.tag ?? request.tag,
    'wimse-aud': wimseAudience(target),
  };
  return profile.parameters.flatMap((name) => {
    const value = values[name];
    return value === undefined ? [] : [[name, value] as const];
  });
}

/**
 * Always fresh from the daemon, so that two signatures never share a nonce. A verifier's challenge follows
 * after a full stop: `<22 characters>.<challenge>` (S4).
 */
function signatureNonce(context: DraftContext, challenge: string | undefined): string {
  const fresh = freshNonce(context);
  if (challenge === undefined) return fresh;
  const nonce = `${fresh}.${challenge}`;
  if (nonce.length > MAX_NONCE_LENGTH) {
    throw new KeydError(
      'malformed_request',
      `nonce is longer than ${MAX_NONCE_LENGTH - fresh.length - 1} characters`,
    );
  }
  return nonce;
}

/** One value a name, as RFC 9110 §5.3 combines lines; cookies by RFC 9113 §8.2.3. */
function attachable(headers: readonly FieldLine[]): Readonly<Record<string, string>> {
  const combined = new Map<string, string>();
  for (const [name, value] of headers) {
    const before = combined.get(name);
    combined.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`);
  }
  return Object.fromEntries(combined);
}
