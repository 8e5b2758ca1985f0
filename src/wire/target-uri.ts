/**
 * The target of a request in the one spelling that is judged, signed and sent (S7). Nothing is rewritten:
 * a URI that is not its own canonical form is refused, because `new URL()` would quietly change it
 * (`/a/%2e%2e/b` becomes `/b`).
 */
import { KeydError } from './problem.ts';
import { hostFault } from './uri-host.ts';

export interface TargetUri {
  readonly scheme: 'http' | 'https';
  /** Host, and port unless it is the scheme's default: RFC 9421 `@authority`. */
  readonly authority: string;
  /** Lower-case A-labels, dotted IPv4, or IPv6 in brackets. */
  readonly host: string;
  /** The port, default included. */
  readonly port: number;
  /** RFC 9421 `@path`: at least "/". */
  readonly path: string;
  /** Without its "?"; undefined where there is none. */
  readonly query: string | undefined;
  /** `scheme://authority`, RFC 6454 §6.2. */
  readonly origin: string;
  /** The whole URI: equal to the text that was parsed. */
  readonly canonical: string;
}

const MAX_LENGTH = 8192;
const DEFAULT_PORTS = { http: 80, https: 443 } as const;

/** RFC 3986 §3.3: pchar and "/", percent-encodings checked apart. */
const PATH_CHARACTERS = /^[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*$/;
/** RFC 3986 §3.4. */
const QUERY_CHARACTERS = /^[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*$/;
const UNRESERVED = /^[A-Za-z0-9\-._~]$/;

/**
 * An absolute http or https URI that equals its own canonical form: lower-case scheme and host, default port
 * absent, path at least "/", no userinfo, fragment, empty or dot segment, upper-case percent-encodings of
 * characters that need it, and no encoded slash, backslash or control octet in the path (in the query: no NUL).
 * @throws KeydError `invalid_target_uri` naming the first fault
 */
export function parseTargetUri(text: string): TargetUri {
  if (text.length > MAX_LENGTH) refuse(`is longer than ${MAX_LENGTH} characters`);
  if (!/^[\x21-\x7e]*$/.test(text)) refuse('has a space, a control character or a character outside ASCII');
  if (text.includes('\\')) refuse('has a backslash');
  if (text.includes('#')) refuse('has a fragment');
  const match = /^(https?):\/\/([^/?]*)([^?]*)(?:\?(.*))?$/.exec(text);
  const [, scheme, authority, path, query] = match ?? [];
  if ((scheme !== 'http' && scheme !== 'https') || authority === undefined || path === undefined) {
    return refuse('is no absolute URI of the scheme http or https in lower case');
  }
  const { host, port } = parseAuthority(authority, scheme);
  checkPath(path);
  if (query !== undefined) checkQuery(query);
  const origin = `${scheme}://${authority}`;
  return { scheme, authority, host, port, path, query, origin, canonical: text };
}

function parseAuthority(authority: string, scheme: 'http' | 'https'): { host: string; port: number } {
  if (authority.includes('@')) refuse('has userinfo');
  const match = /^(\[[^\]]*\]|[^:[\]]*)(?::(.*))?$/.exec(authority);
  const host = match?.[1];
  if (host === undefined) return refuse('has a malformed authority');
  const fault = hostFault(host);
  if (fault !== undefined) refuse(`has a host that ${fault}`);
  const portText = match?.[2];
  if (portText === undefined) return { host, port: DEFAULT_PORTS[scheme] };
  if (!/^[1-9][0-9]{0,4}$/.test(portText)) refuse('has a port that is no plain decimal number');
  const port = Number(portText);
  if (port > 65_535) refuse('has a port above 65535');
  if (port === DEFAULT_PORTS[scheme])
    refuse(`names the default port ${port}, which its canonical form leaves out`);
  return { host, port };
}

function checkPath(path: string): void {
  if (path === '') refuse('has no path; its canonical form has "/"');
  if (!PATH_CHARACTERS.test(path)) refuse('has a character in its path that must be percent-encoded');
  checkEncodings(path, 'path', (octet) => octet < 0x20 || octet === 0x7f || octet === 0x2f || octet === 0x5c);
  const segments = path.slice(1).split('/');
  for (const [index, segment] of segments.entries()) {
    if (segment === '.' || segment === '..') refuse('has a dot segment');
    // Many servers merge "//": what was judged would not be what is executed.
    if (segment === '' && index < segments.length - 1) refuse('has an empty path segment');
  }
}

function checkQuery(query: string): void {
  // RFC 9421 §2.2.7 can not tell "?" from no query.
  if (query === '') refuse('has an empty query; its canonical form has no "?"');
  if (!QUERY_CHARACTERS.test(query)) refuse('has a character in its query that must be percent-encoded');
  checkEncodings(query, 'query', (octet) => octet === 0);
}

function checkEncodings(text: string, where: string, forbidden: (octet: number) => boolean): void {
  for (let at = text.indexOf('%'); at !== -1; at = text.indexOf('%', at + 3)) {
    const hex = text.slice(at + 1, at + 3);
    if (!/^[0-9A-F]{2}$/.test(hex))
      refuse(`has a percent-encoding in its ${where} without two upper-case hex digits`);
    const octet = Number.parseInt(hex, 16);
    if (forbidden(octet)) refuse(`has %${hex} in its ${where}`);
    if (UNRESERVED.test(String.fromCharCode(octet))) {
      refuse(`has %${hex} in its ${where}, which its canonical form does not encode`);
    }
  }
}

function refuse(reason: string): never {
  throw new KeydError('invalid_target_uri', `the target URI ${reason}`);
}
