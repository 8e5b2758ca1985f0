/**
 * The request of a case, read as the daemon reads it: by the shapes of the socket and by what signing and policy
 * share. What needs a key, a credential or a chain is left out; docs/policy.md says what that is.
 */
import { spiffeId, parseAgentName } from '../../wire/agent-name.ts';
import { encodeBase64url } from '../../wire/base64url.ts';
import { array, integer, object, optional, parse, text } from '../../wire/check.ts';
import { contentDigest } from '../../wire/content-digest.ts';
import { WPT_TYP } from '../../wire/credential-claims.ts';
import { fieldValues, trimOws, type FieldLine } from '../../wire/field-lines.ts';
import { checkCallerHeaders } from '../../wire/header-rules.ts';
import { KeydError } from '../../wire/problem.ts';
import { profileEntry } from '../../wire/profiles.ts';
import { budgetAmount } from '../../wire/socket/delegations.ts';
import { intent, type Intent } from '../../wire/socket/intent.ts';
import {
  csrRequest,
  dpopRequest,
  httpMessageRequest,
  jwtRequest,
  rawRequest,
  type HttpMessageRequest,
  type JwtRequest,
} from '../../wire/socket/signing.ts';
import { parseTargetUri } from '../../wire/target-uri.ts';
import { normaliseTyp } from '../../wire/typ.ts';
import {
  dpopBinds,
  intentLine,
  jwtAudience,
  messageBinds,
  messageComponents,
  messageContent,
  messageMediaType,
  normalLine,
} from '../typed-parameters.ts';
import type { BoundParameter } from '../proposal.ts';
import type { JudgedParameters, PlainParameters } from '../verdict.ts';

/** What the engine is asked, beside who asks and when. */
export interface CaseRequest {
  readonly parameters: JudgedParameters;
  /** Absent where nothing is signed. */
  readonly binds?: ReadonlySet<BoundParameter>;
  /** When the proof ends, milliseconds since the epoch. */
  readonly endsAtMs?: number;
  readonly intent?: Intent | undefined;
}

type Members = Readonly<Record<string, unknown>>;

const MESSAGE_SECONDS = 60;
const JWT_SECONDS = 300;
/** S18: a link; the daemon renews it. */
const LINK_SECONDS = 3600;
const PLAIN: readonly PlainParameters['operation'][] = [
  'use',
  'show',
  'credentials-read',
  'credentials-renew',
  'revoke',
  'approve',
];

const word = text({ maxLength: 512 });
const delegateRequest = object({
  name: word,
  scopes: optional(array(word, { max: 64 })),
  aud: optional(array(word, { max: 64 })),
  budget: optional(array(budgetAmount, { max: 16 })),
  expiresIn: integer({ min: 1, max: 2_592_000 }),
  intent: optional(intent),
});

/**
 * @param members `operation` and what that call takes
 * @throws KeydError `malformed_request` for members that the call does not take, and what the daemon would refuse
 *   before it asks policy: `invalid_target_uri`, `invalid_header`, `invalid_component`
 */
export function caseRequest(members: Members, agentName: string, nowMs: number): CaseRequest {
  const { operation, ...rest } = members;
  const nowSeconds = Math.floor(nowMs / 1000);
  switch (operation) {
    case 'http-message':
      return message(rest, nowSeconds);
    case 'dpop':
      return dpop(rest);
    case 'jwt':
      return jwt(parse(jwtRequest, rest), agentName, nowSeconds);
    case 'csr':
      return csr(rest, agentName);
    case 'raw':
      return raw(rest);
    case 'delegate':
      return delegate(rest, nowSeconds);
    default: {
      const plain = PLAIN.find((name) => name === operation);
      if (plain === undefined) {
        throw new KeydError('malformed_request', 'request.operation must name an action of the schema');
      }
      parse(object({}), rest);
      return { parameters: { operation: plain } };
    }
  }
}

function message(given: Members, nowSeconds: number): CaseRequest {
  const { body, bodyBase64url, tokenBound, ...rest } = given;
  if (typeof tokenBound !== 'boolean' && tokenBound !== undefined) {
    throw new KeydError('malformed_request', 'request.tokenBound must be true or false');
  }
  const octets = body === undefined ? bodyBase64url : asOctets(body, 'body');
  const request = parse(httpMessageRequest, {
    profile: 'rfc9421',
    ...rest,
    ...(octets === undefined ? {} : { body: octets }),
  });
  const target = parseTargetUri(request.targetUri);
  const { content, lines, digest } = messageContent(request.headers, request.body);
  const added: readonly FieldLine[] = [
    ...(content.kind === 'octets' ? [['content-digest', contentDigest(content.octets)] as const] : []),
    ...(digest === undefined ? [] : [['content-digest', digest] as const]),
    ...(request.intent === undefined ? [] : intentLine(request.intent)),
  ];
  const components = messageComponents(request.profile, [...lines, ...added], content, request.components);
  checkCallerHeaders(lines, {
    target,
    single: new Set(components),
    contentOctets: content.kind === 'octets' ? content.octets.length : undefined,
  });
  const headers = [...lines.map(normalLine), ...added];
  const profile = profileEntry(request.profile);
  return {
    parameters: {
      operation: 'http-message',
      profile: request.profile,
      method: request.method,
      target,
      headers,
      components,
      mediaType: messageMediaType(headers),
      content,
      authorization: authorization(headers, tokenBound ?? true),
      challenge: request.nonce,
      tag: profile.tag ?? request.tag,
    },
    binds: new Set(messageBinds(components, profile.parameters.includes('wimse-aud'))),
    endsAtMs: (nowSeconds + MESSAGE_SECONDS) * 1000,
    intent: stated(request.intent),
  };
}

function authorization(
  headers: readonly FieldLine[],
  bound: boolean,
): { readonly scheme: string; readonly bound: boolean } | undefined {
  const [value] = fieldValues(headers, 'authorization');
  return value === undefined
    ? undefined
    : { scheme: (trimOws(value).split(' ', 1)[0] ?? '').toLowerCase(), bound };
}

/** What policy and audit see of it. */
function stated(given: HttpMessageRequest['intent']): Intent | undefined {
  if (given === undefined) return undefined;
  return Object.fromEntries(Object.entries(given).filter(([name]) => name !== 'disclose'));
}

function dpop(given: Members): CaseRequest {
  const request = parse(dpopRequest, given);
  const target = parseTargetUri(request.htu);
  const { htm: method, ath: accessTokenHash, nonce: challenge } = request;
  return {
    parameters: { operation: 'dpop', method, target, accessTokenHash, challenge },
    binds: new Set(dpopBinds(accessTokenHash)),
    intent: request.intent,
  };
}

function jwt(request: JwtRequest, agentName: string, nowSeconds: number): CaseRequest {
  const typ = normaliseTyp(request.typ);
  if (typ === WPT_TYP) {
    throw new KeydError(
      'malformed_request',
      `a case can not make ${WPT_TYP}: it is about a credential of the key`,
    );
  }
  const own = exampleId(agentName);
  const latest = nowSeconds + JWT_SECONDS;
  const { exp = latest } = request.claims;
  const claims = {
    iss: own,
    sub: own,
    ...request.claims,
    exp,
    iat: nowSeconds,
    nbf: nowSeconds,
    jti: 'AAAAAAAAAAAAAAAAAAAAAA',
  };
  return {
    parameters: { operation: 'jwt', typ, audience: jwtAudience(claims), claims },
    binds: new Set(['claims']),
    endsAtMs: (typeof exp === 'number' ? Math.min(exp, latest) : latest) * 1000,
    intent: request.intent,
  };
}

function csr(given: Members, agentName: string): CaseRequest {
  const { sans, subject, intent: purpose } = parse(csrRequest, given);
  return {
    parameters: {
      operation: 'csr',
      commonName: subject?.commonName,
      organization: subject?.organization,
      uris: sans?.uri ?? [exampleId(agentName)],
      dnsNames: sans?.dns ?? [],
    },
    binds: new Set(['subject']),
    intent: purpose,
  };
}

function raw(given: Members): CaseRequest {
  const { message: octets, ...rest } = given;
  const request = parse(rawRequest, {
    ...rest,
    ...(octets === undefined ? {} : { message: asOctets(octets, 'message') }),
  });
  return {
    parameters: {
      operation: 'raw',
      input: request.digest === undefined ? 'message' : 'digest',
      credentialsEndAtMs: undefined,
    },
    binds: new Set(),
    intent: request.intent,
  };
}

function delegate(given: Members, nowSeconds: number): CaseRequest {
  const request = parse(delegateRequest, given);
  return {
    parameters: {
      operation: 'delegate',
      name: request.name,
      scopes: request.scopes ?? [],
      audiences: request.aud ?? [],
      expiresInSeconds: request.expiresIn,
      budgets: (request.budget ?? []).map(({ unit, decimals, amount }) => ({
        unit: `${unit}.${decimals}`,
        amount: BigInt(amount),
      })),
    },
    binds: new Set(['claims']),
    endsAtMs: (nowSeconds + Math.min(request.expiresIn, LINK_SECONDS)) * 1000,
    intent: request.intent,
  };
}

/** The agent's SPIFFE ID on a host of a trust domain that nobody has (RFC 2606). */
function exampleId(agentName: string): string {
  return spiffeId('trust.example', 'host', parseAgentName(agentName));
}

/** Text stands for its UTF-8 octets. */
function asOctets(value: unknown, name: string): string {
  if (typeof value === 'string') return encodeBase64url(Buffer.from(value));
  throw new KeydError('malformed_request', `request.${name} must be a string`);
}
