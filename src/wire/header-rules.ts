/** Which header fields a caller may have signed with a request, and which are never its to choose (S7). */
import { isFieldValue, isToken, trimOws, type FieldLine } from './field-lines.ts';
import { KeydError } from './problem.ts';
import { DELEGATION_CHAIN_HEADER, INTENT_HEADER } from './profiles.ts';
import type { TargetUri } from './target-uri.ts';

/** RFC 9110 §7.6.1 and its kin: they speak of the connection and do not reach the origin as written. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Fields by which frameworks run another method or path than the one in the request line. */
const OVERRIDE_FIELDS: ReadonlySet<string> = new Set([
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-method',
  'x-original-url',
  'x-rewrite-url',
]);

/** Fields by which a proxy tells what it was asked for; a caller has no business with them. */
const FORWARDING_FIELDS = new Set([
  'forwarded',
  'x-forwarded-host',
  'x-forwarded-method',
  'x-forwarded-path',
  'x-forwarded-port',
  'x-forwarded-prefix',
  'x-forwarded-proto',
  'x-forwarded-uri',
  'x-original-host',
  'x-original-uri',
]);

/** Fields the daemon builds itself; `signature` and everything that begins with it as well. */
const DAEMON_OWNED = new Set(['content-digest', DELEGATION_CHAIN_HEADER, INTENT_HEADER]);

const MAX_LINES = 128;
const MAX_OCTETS = 32_768;

export interface HeaderRules {
  readonly target: TargetUri;
  /** Lower-case names that are covered or judged: each may occur once at most. */
  readonly single: ReadonlySet<string>;
  /** Octets of the content, where it is known; a `content-length` must say the same. */
  readonly contentOctets: number | undefined;
}

/**
 * Checks a caller's header lines against S7.
 * @throws KeydError `invalid_header` naming the field
 */
export function checkCallerHeaders(lines: readonly FieldLine[], rules: HeaderRules): void {
  if (lines.length > MAX_LINES) refuse(`there are more than ${MAX_LINES} header lines`);
  if (lines.reduce((sum, [name, value]) => sum + name.length + value.length, 0) > MAX_OCTETS) {
    refuse(`the headers are longer than ${MAX_OCTETS} octets`);
  }
  const seen = new Set<string>();
  for (const [given, value] of lines) {
    if (!isToken(given)) refuse(`${JSON.stringify(given.slice(0, 64))} is no field name`);
    // CGI and its heirs read it as "-": a second field of a covered name, an override, another's token (S7).
    if (given.includes('_')) refuse(`${given.slice(0, 64)} has an underscore, which servers may read as "-"`);
    const name = given.toLowerCase();
    if (!isFieldValue(value)) refuse(`${name} has a line break, a control or a non-ASCII character`);
    checkName(name);
    if (seen.has(name) && (ALWAYS_SINGLE.has(name) || rules.single.has(name)))
      refuse(`${name} is there twice`);
    seen.add(name);
    if (name === 'host' && trimOws(value) !== rules.target.authority) {
      refuse(`host is not ${rules.target.authority}, the authority of the target`);
    }
    if (name === 'content-length') checkContentLength(trimOws(value), rules.contentOctets);
  }
}

/** Fields that parsers are known to read differently when repeated, covered or not. */
const ALWAYS_SINGLE = new Set([
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'authorization',
]);

/**
 * Whether frameworks may take a field of this name, in any case, for a command to run another request. To CGI and
 * its heirs (RFC 3875 §4.1.18) "_" and "-" are one.
 */
export function isOverrideField(name: string): boolean {
  return OVERRIDE_FIELDS.has(name.toLowerCase().replaceAll('_', '-'));
}

function checkName(name: string): void {
  if (HOP_BY_HOP.has(name)) refuse(`${name} is a hop-by-hop field`);
  if (OVERRIDE_FIELDS.has(name) || FORWARDING_FIELDS.has(name)) {
    refuse(`${name} could make the server run another request than the one judged`);
  }
  if (DAEMON_OWNED.has(name) || name.startsWith('signature')) refuse(`${name} is the daemon's to set`);
}

function checkContentLength(value: string, contentOctets: number | undefined): void {
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(value)) refuse('content-length is no plain decimal number');
  if (Number(value) !== (contentOctets ?? 0)) refuse('content-length is not the length of the body');
}

function refuse(reason: string): never {
  throw new KeydError('invalid_header', reason);
}
