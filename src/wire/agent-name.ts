/** Agent names and the identifiers made from them (DECISIONS 6). */
import { KeydError } from './problem.ts';

/** One segment: at most 63 characters. */
const SEGMENT = /^[a-z0-9][a-z0-9._-]{0,62}$/;
/** The label a host gets at approval: no dot, so that `<host>.<a>` reads back one way. */
const HOST_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** SPIFFE-ID §2.1. */
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const AAUTH_DOMAIN = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
const PATTERN = /^[a-z0-9*][a-z0-9._*-]{0,62}$/;
/** SPIFFE-ID §2.3 bounds the whole identifier; names stay well below. */
const MAX_NAME_LENGTH = 1024;

/** An agent's name: the root agent's segment, then one for each sub-agent below it. */
export interface AgentName {
  readonly text: string;
  readonly segments: readonly string[];
  /** 0 for an agent, 1 for its sub-agent, and so on. */
  readonly depth: number;
}

/**
 * A name `a`, `a+b`, `a+b+c`, with segments `[a-z0-9][a-z0-9._-]{0,62}`.
 * @throws KeydError `invalid_name`
 */
export function parseAgentName(text: string): AgentName {
  if (text.length > MAX_NAME_LENGTH) refuse(`the name is longer than ${MAX_NAME_LENGTH} characters`);
  const segments = text.split('+');
  for (const segment of segments) {
    if (!SEGMENT.test(segment)) {
      refuse(
        `${JSON.stringify(segment.slice(0, 80))} is no name: a to z, 0 to 9, then also . _ -, at most 63 characters`,
      );
    }
  }
  return { text, segments, depth: segments.length - 1 };
}

/** The name of an agent that is created directly: one segment, `+` being reserved to delegation. @throws KeydError `invalid_name` */
export function parseRootAgentName(text: string): AgentName {
  const name = parseAgentName(text);
  if (name.depth > 0) refuse('the name has a "+", which is reserved to sub-agents made by delegation');
  return name;
}

/** The name of a sub-agent `segment` of `parent`. @throws KeydError `invalid_name` */
export function subAgentName(parent: AgentName, segment: string): AgentName {
  if (segment.includes('+')) refuse('a sub-agent is named by one segment, without "+"');
  return parseAgentName(`${parent.text}+${segment}`);
}

/** `spiffe://<trust-domain>/agent/<host>/<a>/<b>`. @throws KeydError `invalid_name` */
export function spiffeId(trustDomain: string, host: string, name: AgentName): string {
  if (!TRUST_DOMAIN.test(trustDomain)) refuse(`${JSON.stringify(trustDomain)} is no SPIFFE trust domain`);
  checkHostLabel(host);
  return `spiffe://${trustDomain}/agent/${host}/${name.segments.join('/')}`;
}

/** `aauth:<host>.<a>@<domain>`, `aauth:<host>.<a>+<b>@<domain>`, or null below that. @throws KeydError `invalid_name` */
export function aauthId(host: string, name: AgentName, domain: string): string | null {
  checkHostLabel(host);
  if (!AAUTH_DOMAIN.test(domain)) refuse(`${JSON.stringify(domain)} is no AAuth domain`);
  return name.depth > 1 ? null : `aauth:${host}.${name.text}@${domain}`;
}

/** A label `[a-z0-9-]`, no hyphen at either end, at most 63 characters. @throws KeydError `invalid_name` */
export function checkHostLabel(host: string): void {
  if (!HOST_LABEL.test(host)) refuse(`${JSON.stringify(host.slice(0, 80))} is no host label`);
}

/**
 * Whether a name pattern is well-formed: a segment in which `*` stands for any number of characters of a
 * segment, also none. `*` alone matches every root agent; no pattern matches a "+".
 */
export function isNamePattern(pattern: string): boolean {
  return PATTERN.test(pattern);
}

/**
 * Whether a root agent's name matches a pattern such as `payments-*`; sub-agents never match, because
 * creating one is delegation. An ill-formed pattern matches nothing.
 */
export function matchesNamePattern(pattern: string, name: AgentName): boolean {
  if (!isNamePattern(pattern) || name.depth > 0) return false;
  return glob(pattern, name.text);
}

// Greedy with one point to go back to: linear in the pattern times the name, where a regular expression
// of many stars could take exponential time.
function glob(pattern: string, text: string): boolean {
  let at = 0;
  let inPattern = 0;
  let star = -1;
  let afterStar = 0;
  while (at < text.length) {
    if (pattern[inPattern] === '*') {
      star = inPattern;
      afterStar = at;
      inPattern += 1;
    } else if (pattern[inPattern] === text[at]) {
      inPattern += 1;
      at += 1;
    } else if (star >= 0) {
      inPattern = star + 1;
      afterStar += 1;
      at = afterStar;
    } else {
      return false;
    }
  }
  while (pattern[inPattern] === '*') inPattern += 1;
  return inPattern === pattern.length;
}

function refuse(reason: string): never {
  throw new KeydError('invalid_name', reason);
}
