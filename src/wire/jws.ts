/** JWS Compact Serialization (RFC 7515 §7.1): built from objects, taken apart strictly. */
import { decodeBase64url, encodeBase64url } from './base64url.ts';
import { canonicalJson } from './jcs.ts';
import { KeydError } from './problem.ts';
import { parseStrictJson } from './strict-json.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/** A JWS taken apart; nothing in it is verified yet. */
export interface DecodedJws {
  readonly header: JsonObject & { readonly alg: string };
  /** Octets as signed. */
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  /** ASCII(BASE64URL(header) || '.' || BASE64URL(payload)), RFC 7515 §5.1. */
  readonly signingInput: string;
}

/** A JWT (RFC 7519): a JWS whose payload is a JSON object. */
export interface DecodedJwt extends DecodedJws {
  readonly claims: JsonObject;
}

export interface JwsLimits {
  /** Characters of the whole compact form. */
  readonly maxOctets: number;
}

const DEFAULT_LIMITS: JwsLimits = { maxOctets: 16_384 };
const MAX_HEADER_OCTETS = 4096;
const MAX_DEPTH = 16;

/**
 * The JWS signing input (RFC 7515 §5.1) of a protected header and a payload; objects are written as
 * RFC 8785 canonical JSON, so that equal content gives equal octets.
 */
export function jwsSigningInput(header: JsonObject, payload: JsonObject | Uint8Array): string {
  const payloadOctets = payload instanceof Uint8Array ? payload : Buffer.from(canonicalJson(payload), 'utf8');
  return `${encodeBase64url(Buffer.from(canonicalJson(header), 'utf8'))}.${encodeBase64url(payloadOctets)}`;
}

/** The compact form of a signing input and its signature octets (ECDSA: r||s, RFC 7518 §3.4). */
export function joinJws(signingInput: string, signature: Uint8Array): string {
  return `${signingInput}.${encodeBase64url(signature)}`;
}

/**
 * A compact JWS taken apart: three parts, strict base64url, strict JSON header with a string `alg`, and no
 * `crit` or `b64`, for no extension is understood here.
 * @throws KeydError `malformed_jws`
 */
export function decodeJws(text: string, limits: JwsLimits = DEFAULT_LIMITS): DecodedJws {
  if (text.length > limits.maxOctets) refuse(`is longer than ${limits.maxOctets} characters`);
  const [headerPart, payloadPart, signaturePart, ...more] = text.split('.');
  if (
    headerPart === undefined ||
    payloadPart === undefined ||
    signaturePart === undefined ||
    more.length > 0
  ) {
    return refuse('does not have three parts');
  }
  if (signaturePart === '') refuse('has no signature');
  const header = jsonObject(part(headerPart, 'header'), 'header', MAX_HEADER_OCTETS);
  const alg = header['alg'];
  if (typeof alg !== 'string') return refuse('has no alg in its header');
  for (const extension of ['crit', 'b64']) {
    if (Object.hasOwn(header, extension))
      refuse(`has the header parameter ${extension}, which is not understood here`);
  }
  return {
    header: { ...header, alg },
    payload: part(payloadPart, 'payload'),
    signature: part(signaturePart, 'signature'),
    signingInput: `${headerPart}.${payloadPart}`,
  };
}

/**
 * A compact JWS whose payload is a strict JSON object.
 * @throws KeydError `malformed_jws`
 */
export function decodeJwt(text: string, limits: JwsLimits = DEFAULT_LIMITS): DecodedJwt {
  const jws = decodeJws(text, limits);
  return { ...jws, claims: jsonObject(jws.payload, 'payload', limits.maxOctets) };
}

function part(text: string, what: string): Uint8Array {
  try {
    return decodeBase64url(text, what);
  } catch (cause) {
    return refuse(`has a ${what} that is not strict base64url`, cause);
  }
}

function jsonObject(octets: Uint8Array, what: string, maxOctets: number): JsonObject {
  let value: unknown;
  try {
    value = parseStrictJson(octets, { maxDepth: MAX_DEPTH, maxOctets });
  } catch (cause) {
    return refuse(`has a ${what} that is not strict JSON`, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse(`has a ${what} that is not an object`);
  }
  return value as JsonObject;
}

function refuse(reason: string, cause?: unknown): never {
  throw new KeydError('malformed_jws', `the JWS ${reason}`, cause === undefined ? {} : { cause });
}
