/** A token status list (draft-ietf-oauth-status-list §5): one signed answer for many tokens. */
import { inflateSync } from 'node:zlib';
import { object, integer, optional, parse, text, anyJson, dictionary } from '../wire/check.ts';
import { decodeBase64url } from '../wire/base64url.ts';
import { STATUS_LIST_TYP } from '../wire/issuance/status.ts';
import { decodeJwt } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { verifySignature } from '../wire/public-key.ts';
import { normaliseTyp } from '../wire/typ.ts';
import type { TrustedKey } from './trusted-keys.ts';

/** §7.1: everything else is some kind of no. */
export const STATUS_VALID = 0;

/** A verified list. */
export interface StatusList {
  /** Unix time, seconds. */
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number | undefined;
  /** How long a copy should be used, seconds. */
  readonly ttlSeconds: number | undefined;
  /** @throws KeydError `status_unavailable` for an index beyond the list */
  statusAt(index: number): number;
}

export interface StatusListRules {
  /** Where it was asked for: its `sub`. */
  readonly uri: string;
  readonly keys: readonly TrustedKey[];
  /** Unix time, seconds. */
  readonly nowSeconds: number;
  readonly clockSkewSeconds: number;
}

const MAX_LIST_CHARACTERS = 4 * 1024 * 1024;
/** Two bits each for 64 million tokens. */
const MAX_LIST_OCTETS = 16 * 1024 * 1024;
const HEADER_PARAMETERS = new Set(['alg', 'kid', 'typ']);

const time = integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const claimsOf = {
  sub: text({ maxLength: 512 }),
  iat: time,
  exp: optional(time),
  ttl: optional(integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  status_list: object({
    bits: integer({ min: 1, max: 8 }),
    lst: text({ maxLength: MAX_LIST_CHARACTERS }),
    aggregation_uri: optional(text({ maxLength: 512 })),
  }),
} as const;
const listClaims = object(claimsOf);
const anyClaims = dictionary(/^/, anyJson, { max: 64 });

/**
 * Verifies a Status List Token under a pinned key.
 * @throws KeydError `status_unavailable`: nothing can be told from a list that does not hold
 */
export function verifyStatusList(token: string, rules: StatusListRules): StatusList {
  try {
    return readList(token, rules);
  } catch (cause) {
    if (cause instanceof KeydError && cause.code === 'status_unavailable') throw cause;
    return refuse(cause instanceof KeydError ? cause.message : 'it is malformed', cause);
  }
}

function readList(token: string, { uri, keys, nowSeconds, clockSkewSeconds }: StatusListRules): StatusList {
  const {
    header,
    claims: all,
    signature,
    signingInput,
  } = decodeJwt(token, { maxOctets: MAX_LIST_CHARACTERS });
  const unknown = Object.keys(header).find((name) => !HEADER_PARAMETERS.has(name));
  if (unknown !== undefined) refuse(`its header parameter ${unknown.slice(0, 32)} is not understood here`);
  if (normaliseTyp(header['typ']) !== STATUS_LIST_TYP) refuse(`its typ is not ${STATUS_LIST_TYP}`);
  const key = keys.find(({ kid }) => kid === header['kid']);
  if (key === undefined) return refuse('it is not signed by a pinned status key');
  if (header.alg !== key.jwk.alg) refuse('it says another alg than its key has');
  if (!verifySignature(key.jwk, Buffer.from(signingInput), signature))
    refuse('its signature does not verify');
  // Other claims are nobody's business here (RFC 7519 §4).
  const known = Object.entries(parse(anyClaims, all)).filter(([name]) => Object.hasOwn(claimsOf, name));
  const { sub, iat, exp, ttl, status_list: list } = parse(listClaims, Object.fromEntries(known));
  if (sub !== uri) refuse('it is another list than the one asked for');
  if (iat > nowSeconds + clockSkewSeconds) refuse('it was issued in the future');
  if (exp !== undefined && exp <= nowSeconds - clockSkewSeconds) refuse('it has expired');
  const { bits } = list;
  if (![1, 2, 4, 8].includes(bits)) refuse('its bits are not 1, 2, 4 or 8');
  const octets = inflateSync(decodeBase64url(list.lst, 'lst'), { maxOutputLength: MAX_LIST_OCTETS });
  return {
    issuedAtSeconds: iat,
    expiresAtSeconds: exp,
    ttlSeconds: ttl,
    statusAt: (index) => statusAt(octets, bits, index),
  };
}

/** §4.1: the first status is in the least significant bits of the first octet. */
function statusAt(octets: Uint8Array, bits: number, index: number): number {
  const perOctet = 8 / bits;
  const octet = octets[Math.floor(index / perOctet)];
  if (octet === undefined) return refuse('it has no such index');
  return (octet >> ((index % perOctet) * bits)) & (2 ** bits - 1);
}

function refuse(why: string, cause?: unknown): never {
  throw new KeydError('status_unavailable', `the status list can not be used: ${why}`, { cause });
}
