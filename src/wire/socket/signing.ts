/** Socket API: typed signing requests (docs/openapi.yaml). The daemon builds the octets that are signed. */
import {
  array,
  anyJson,
  integer,
  object,
  octets,
  oneOf,
  optional,
  refine,
  text,
  dictionary,
  type Infer,
  type Shape,
} from '../check.ts';
import { intent, messageIntent } from './intent.ts';

/** Largest body that a caller may have digested and signed, octets. */
export const MAX_BODY_OCTETS = 1024 * 1024;

export const headerField: Shape<readonly [string, string]> = (value, path, faults) => {
  if (
    Array.isArray(value) &&
    value.length === 2 &&
    typeof value[0] === 'string' &&
    typeof value[1] === 'string' &&
    value[0].length <= 256 &&
    value[1].length <= 16_384
  ) {
    return [value[0], value[1]];
  }
  faults.push(`${path} must be [name, value], two strings of at most 256 and 16384 characters`);
  return ['', ''];
};

export const HTTP_PROFILES = ['rfc9421', 'aauth', 'wimse'] as const;

/**
 * `sign/http-message`. `body` absent: no content; `""`: empty content, digested (DECISIONS 19).
 * `components` can only add to what the profile covers; `created` and `nonce` are a verifier's
 * challenge at most (S4).
 */
export const httpMessageRequest = object({
  profile: oneOf(HTTP_PROFILES),
  method: text({ maxLength: 32, pattern: /^[A-Z][A-Z0-9-]*$/, what: 'an upper-case method token' }),
  targetUri: text({ maxLength: 8192 }),
  headers: optional(array(headerField, { max: 128 })),
  body: optional(octets({ max: MAX_BODY_OCTETS })),
  components: optional(array(text({ maxLength: 256 }), { max: 64 })),
  created: optional(integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
  nonce: optional(text({ maxLength: 256, pattern: /^[\x21\x23-\x5b\x5d-\x7e]+$/, what: 'printable ASCII' })),
  tag: optional(text({ maxLength: 64, pattern: /^[a-z0-9][a-z0-9._-]*$/ })),
  intent: optional(messageIntent),
});
export type HttpMessageRequest = Infer<typeof httpMessageRequest>;

export interface HttpMessageReply {
  /** Every header to attach, lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
}

/** `sign/dpop`, RFC 9449. `accessToken` is hashed into `ath` and must be bound to this key. */
export const dpopRequest = object({
  htm: text({ maxLength: 32, pattern: /^[A-Z][A-Z0-9-]*$/, what: 'an upper-case method token' }),
  htu: text({ maxLength: 8192 }),
  ath: optional(text({ maxLength: 43, pattern: /^[A-Za-z0-9_-]{43}$/ })),
  accessToken: optional(text({ maxLength: 16_384, pattern: /^[\x21-\x7e]+$/, what: 'printable ASCII' })),
  nonce: optional(text({ maxLength: 256, pattern: /^[\x21\x23-\x5b\x5d-\x7e]+$/, what: 'printable ASCII' })),
  intent: optional(intent),
});
export type DpopRequest = Infer<typeof dpopRequest>;

/** `sign/jwt`: a JWT of a type that S1 does not reserve. */
export const jwtRequest = object({
  typ: text({ maxLength: 128 }),
  claims: dictionary(/^[\s\S]{1,256}$/, anyJson, { max: 64 }),
  intent: optional(intent),
});
export type JwtRequest = Infer<typeof jwtRequest>;

/** `sign/csr`: PKCS#10 over the agent's key. */
export const csrRequest = object({
  subject: optional(
    object({
      commonName: optional(text({ maxLength: 64 })),
      organization: optional(text({ maxLength: 64 })),
    }),
  ),
  sans: optional(
    object({
      uri: optional(array(text({ maxLength: 2048 }), { max: 8 })),
      dns: optional(array(text({ maxLength: 253 }), { max: 8 })),
    }),
  ),
  intent: optional(intent),
});
export type CsrRequest = Infer<typeof csrRequest>;

/** `sign/raw`: exactly one member; off unless policy names it. */
export const rawRequest = refine(
  object({
    message: optional(octets({ max: MAX_BODY_OCTETS })),
    digest: optional(octets({ min: 32, max: 64 })),
    intent: optional(intent),
  }),
  ({ message, digest }) =>
    (message === undefined) === (digest === undefined)
      ? 'must have exactly one of message and digest'
      : undefined,
);
export type RawRequest = Infer<typeof rawRequest>;
