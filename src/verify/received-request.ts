/** The request that reached this server, rebuilt under a name that configuration gave it (S5). */
import { BlockList, isIP } from 'node:net';
import { fieldValues, isFieldValue, isToken, trimOws, type FieldLine } from '../wire/field-lines.ts';
import { isOverrideField } from '../wire/header-rules.ts';
import { KeydError } from '../wire/problem.ts';
import { parseTargetUri, type TargetUri } from '../wire/target-uri.ts';

export interface ReceivedRequest {
  readonly method: string;
  /** The request target as received: origin form `/path?query`, or absolute form. */
  readonly url: string;
  /** Every field line as received, in order, repetitions included. */
  readonly headers: readonly FieldLine[];
  /** The content as received, before any decoding; undefined or empty where there is none. */
  readonly body?: Uint8Array | undefined;
  /** IP address of the peer of this connection; read only where trusted proxies are configured. */
  readonly remoteAddress?: string | undefined;
}

/** Authority to origin, e.g. `api.example` to `https://api.example`. */
export type Origins = ReadonlyMap<string, string>;

const MAX_HEADER_LINES = 200;

/**
 * The origins a server answers for, each `scheme://authority` in canonical form. Two schemes of one authority
 * can not be told apart behind a proxy and are refused.
 * @throws KeydError `configuration_invalid`
 */
export function parseOrigins(origins: readonly string[]): Origins {
  if (origins.length === 0) {
    throw new KeydError('configuration_invalid', 'origins is empty: a verifier must know its own name');
  }
  const byAuthority = new Map<string, string>();
  for (const origin of origins) {
    let target: TargetUri;
    try {
      target = parseTargetUri(`${origin}/`);
    } catch (cause) {
      const reason = cause instanceof KeydError ? cause.message : 'unreadable';
      throw new KeydError(
        'configuration_invalid',
        `the origin ${JSON.stringify(origin)} is not canonical: ${reason}`,
        {
          cause,
        },
      );
    }
    if (target.origin !== origin) {
      throw new KeydError('configuration_invalid', `${JSON.stringify(origin)} is more than an origin`);
    }
    if (byAuthority.has(target.authority)) {
      throw new KeydError('configuration_invalid', `the authority ${target.authority} is there twice`);
    }
    byAuthority.set(target.authority, origin);
  }
  return byAuthority;
}

/** Addresses or CIDR blocks of proxies whose `X-Forwarded-Host` counts. @throws KeydError `configuration_invalid` */
export function parseProxies(addresses: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of addresses) {
    const [address = '', prefix] = text.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    const bits = prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix);
    if (isIP(address) === 0 || !Number.isInteger(bits) || bits < 1 || bits > (family === 'ipv6' ? 128 : 32)) {
      throw new KeydError('configuration_invalid', `${JSON.stringify(text)} is no IP address or CIDR block`);
    }
    list.addSubnet(address, bits, family);
  }
  return list;
}

/**
 * The target of the request under the configured origin its authority names; Host must occur once and agree
 * with an absolute form, and fields that make frameworks run another request are refused (S5, S7).
 * @throws KeydError `verification_failed`, `invalid_header`, `invalid_target_uri`
 */
export function rebuildTarget(request: ReceivedRequest, origins: Origins, proxies?: BlockList): TargetUri {
  checkLines(request);
  const authority = authorityOf(request, proxies);
  const origin = origins.get(authority);
  if (origin === undefined) {
    return refuse(
      `the request is for ${JSON.stringify(authority.slice(0, 128))}, which this server does not answer for`,
    );
  }
  if (request.url.startsWith('/')) return parseTargetUri(origin + request.url);
  const target = parseTargetUri(request.url);
  if (target.origin !== origin)
    refuse('the absolute form of the request target disagrees with the Host field');
  return target;
}

function checkLines(request: ReceivedRequest): void {
  if (!isToken(request.method)) refuse('the method is no token');
  if (request.headers.length > MAX_HEADER_LINES)
    refuse(`there are more than ${MAX_HEADER_LINES} header lines`);
  for (const [name, value] of request.headers) {
    if (!isToken(name)) refuse('a field name is no token');
    if (isOverrideField(name)) refuse(`${name} asks for another request than the signed one`);
    if (name.toLowerCase() === 'host' && !isFieldValue(value)) refuse('the Host field is malformed');
  }
}

function authorityOf(request: ReceivedRequest, proxies: BlockList | undefined): string {
  const forwarded = fromProxy(request, proxies) ? fieldValues(request.headers, 'x-forwarded-host') : [];
  if (forwarded.length > 0) return single(forwarded, 'X-Forwarded-Host');
  return single(fieldValues(request.headers, 'host'), 'Host');
}

function fromProxy({ remoteAddress }: ReceivedRequest, proxies: BlockList | undefined): boolean {
  if (proxies === undefined || remoteAddress === undefined) return false;
  // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d, which BlockList matches as IPv6.
  const family = isIP(remoteAddress);
  return family !== 0 && proxies.check(remoteAddress, family === 6 ? 'ipv6' : 'ipv4');
}

function single(values: readonly string[], name: string): string {
  const [value, ...more] = values;
  if (value === undefined) return refuse(`the ${name} field is missing`);
  if (more.length > 0) return refuse(`the ${name} field is repeated`);
  return trimOws(value);
}

function refuse(reason: string): never {
  throw new KeydError('verification_failed', reason);
}
