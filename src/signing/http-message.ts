/** `sign/http-message`: RFC 9421 signatures in the profiles of wire/profiles.ts. */
import type { BoundParameter, HttpMessageParameters } from '../policy/proposal.ts';
import { parseAgentName } from '../wire/agent-name.ts';
import { algorithmEntry } from '../wire/algorithms.ts';
import { contentDigest } from '../wire/content-digest.ts';
import { WIT_HEADER } from '../wire/credential-claims.ts';
import { combinedFieldValue, fieldValues, trimOws, type FieldLine } from '../wire/field-lines.ts';
import { checkCallerHeaders } from '../wire/header-rules.ts';
import {
  component,
  signatureBase,
  signatureField,
  signatureInputField,
  type SignatureParameters,
} from '../wire/http-signature.ts';
import { KeydError } from '../wire/problem.ts';
import {
  DELEGATION_CHAIN_HEADER,
  INTENT_HEADER,
  profileEntry,
  requiredComponents,
  wimseAudience,
  type Profile,
} from '../wire/profiles.ts';
import type { MessageIntent } from '../wire/socket/intent.ts';
import type { HttpMessageReply, HttpMessageRequest } from '../wire/socket/signing.ts';
import { serializeItem, serializeMember, SfToken, type SfBareItem } from '../wire/structured-fields.ts';
import { parseTargetUri, type TargetUri } from '../wire/target-uri.ts';
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
/** Another host's digest, taken as it is: one SHA-256 in canonical base64 (RFC 9530 §2). */
const SHA256_DIGEST = /^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$/;

type Content = HttpMessageParameters['content'];

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
  const { content, lines } = readContent(request);
  const added = daemonHeaders(context, request, content);
  const components = coveredComponents(request, [...lines, ...added], content);
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
      mediaType: mediaType(headers),
      content,
      authorization,
      challenge: request.nonce,
      tag: profile.tag ?? request.tag,
    },
    octets: { kind: 'message', octets: Buffer.from(base, 'ascii') },
    binds: boundBy(components, parameters),
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

/** The content, and the caller's lines without a Content-Digest that stands for a body nobody shows. */
function readContent(request: HttpMessageRequest): { content: Content; lines: readonly FieldLine[] } {
  const lines = request.headers ?? [];
  if (request.body !== undefined) return { content: { kind: 'octets', octets: request.body }, lines };
  const isDigest = ([name]: FieldLine): boolean => name.toLowerCase() === 'content-digest';
  const [digest, ...more] = lines.filter(isDigest);
  if (digest === undefined) return { content: { kind: 'none' }, lines };
  if (more.length > 0 || !SHA256_DIGEST.test(trimOws(digest[1]))) {
    throw new KeydError('invalid_header', 'content-digest must be one sha-256 digest in canonical form');
  }
  return { content: { kind: 'digest' }, lines: lines.filter((line) => !isDigest(line)) };
}

function daemonHeaders(
  context: DraftContext,
  request: HttpMessageRequest,
  content: Content,
): readonly FieldLine[] {
  const added: FieldLine[] = [];
  if (content.kind === 'octets') added.push(['content-digest', contentDigest(content.octets)]);
  if (content.kind === 'digest') {
    added.push(['content-digest', combinedFieldValue(request.headers ?? [], 'content-digest')]);
  }
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
  if (request.intent?.disclose === true) added.push(...intentLine(request.intent));
  return added;
}

/** Names only: the note is for people on this side. */
function intentLine({ purpose, task, session }: MessageIntent): readonly FieldLine[] {
  const members = Object.entries({ purpose, task, session }).flatMap(([name, value]) =>
    value === undefined ? [] : [serializeMember(name, serializeItem({ value, parameters: [] }))],
  );
  return members.length === 0 ? [] : [[INTENT_HEADER, members.join(', ')]];
}

/** Signature-Key of the scheme jwt (draft-hardt-httpbis-signature-key): the agent token, whose cnf is this key. */
function signatureKey({ agent, credentials }: DraftContext): string {
  if (parseAgentName(agent.name).depth > 1) {
    throw new KeydError(
      'invalid_name',
      'AAuth has no name for a sub-agent of a sub-agent; use the profile rfc9421',
    );
  }
  const token = credentials?.agentToken;
  if (token === undefined) {
    throw new KeydError(
      'credential_unavailable',
      'this agent has no AAuth agent token; see `agentkey credential show`',
    );
  }
  return serializeMember('sig', serializeItem({ value: new SfToken('jwt'), parameters: [['jwt', token]] }));
}

/** What the profile demands, then what the caller adds (S7: it can only add). */
function coveredComponents(
  request: HttpMessageRequest,
  lines: readonly FieldLine[],
  content: Content,
): readonly string[] {
  const names = new Set(lines.map(([name]) => name.toLowerCase()));
  const required = requiredComponents(request.profile, names, content.kind !== 'none');
  const extra = request.components ?? [];
  const twice = extra.find((name, index) => extra.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new KeydError('invalid_component', `the component ${JSON.stringify(twice)} is there twice`);
  }
  return [...required, ...extra.filter((name) => !required.includes(name))];
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

function mediaType(headers: readonly FieldLine[]): string | undefined {
  const value = headers.find(([name]) => name === 'content-type')?.[1];
  if (value === undefined) return undefined;
  const type = trimOws(value.split(';', 1)[0] ?? '').toLowerCase();
  if (!/^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+$/.test(type)) {
    throw new KeydError('invalid_header', 'content-type is no media type');
  }
  return type;
}

function boundBy(components: readonly string[], parameters: SignatureParameters): readonly BoundParameter[] {
  const named = parameters.some(([name]) => name === 'wimse-aud');
  const byParameters: readonly BoundParameter[] = named ? ['scheme', 'authority', 'path'] : [];
  const byComponents = components.flatMap((name): readonly BoundParameter[] => {
    switch (name) {
      case '@method':
        return ['method'];
      case '@target-uri':
        return ['scheme', 'authority', 'path', 'query'];
      case '@request-target':
        return ['path', 'query'];
      case 'content-digest':
        return ['body', 'header:content-digest'];
      case 'authorization':
        return ['access-token', 'header:authorization'];
      default:
        return name.startsWith('@') ? [] : [`header:${name}`];
    }
  });
  return [...byParameters, ...byComponents];
}

function normalLine([name, value]: FieldLine): FieldLine {
  return [name.toLowerCase(), trimOws(value)];
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
