/**
 * The rules of `[policy]` in agentkeyd.toml: who manages agents, and the host's ceiling: what no policy of the
 * policy set can permit by itself.
 */
import { isNamePattern, parseAgentName } from '../wire/agent-name.ts';
import { array, object, optional, refine, text, type Infer, type Shape } from '../wire/check.ts';
import { KeydError } from '../wire/problem.ts';
import { parseTargetUri } from '../wire/target-uri.ts';
import {
  callerSelector,
  callerSelectorMembers,
  selectorFault,
  type CallerSelector,
} from './caller-selector.ts';

const MAX_RULES = 256;

const namePattern = refine(text({ maxLength: 63 }), (pattern) =>
  isNamePattern(pattern) ? undefined : 'is no name pattern: a name in which * stands for any characters',
);

const agentName = checked(1024, 'is no agent name', (name) => parseAgentName(name));

const origin = checked(512, 'is no origin such as https://api.example', (text) => {
  if (parseTargetUri(`${text}/`).origin !== text) throw new KeydError('invalid_target_uri', 'no origin');
});

/** `*` at the end or the beginning stands for any characters. */
const typPattern = text({ maxLength: 127, pattern: /^(?:\*|\*?[a-z0-9!#$&^_.+/-]+|[a-z0-9!#$&^_.+/-]+\*)$/ });

/** A host name, or `*.` and a domain for the names one label below it. */
const dnsPattern = text({
  maxLength: 253,
  pattern: /^(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/,
});

/** Callers that may create, rotate and retire agents of these names on the shared socket (DECISIONS 7). */
const createRule = refine(
  object({ ...callerSelectorMembers, names: array(namePattern, { min: 1, max: MAX_RULES }) }),
  selectorFault,
);

/** Kept apart, because who runs the daemon need not be who approves payments or who writes policy (S11). */
export const ROLES = ['operate', 'approve', 'policy'] as const;
export type Role = (typeof ROLES)[number];

const roles = object({
  /** Create, rotate, retire, show and export any agent; enrol the host; read audit entries. */
  operate: optional(array(callerSelector, { max: MAX_RULES })),
  /** Allow or deny what policies annotate with `@approval`. */
  approve: optional(array(callerSelector, { max: MAX_RULES })),
  /** Read and reload the policy set. */
  policy: optional(array(callerSelector, { max: MAX_RULES })),
});

/** As it stands in the file; every member left out allows nothing. */
export const policySectionMembers = {
  create: optional(array(createRule, { max: MAX_RULES })),
  /** Roles count on the admin socket only. */
  roles: optional(roles),
  /** Callers that may have the AK quote for a third party. */
  quote: optional(array(callerSelector, { max: MAX_RULES })),
  /** Agents whose key may sign octets nobody has read. Such an agent gets no WIT (S1). */
  allow_raw: optional(array(agentName, { max: MAX_RULES })),
  /** Agents that may sign a Content-Digest whose content the daemon does not see. */
  allow_digest_without_body: optional(array(agentName, { max: MAX_RULES })),
  /** JWT types that `sign/jwt` makes; S1's reserved types stay reserved. */
  jwt_types: optional(array(typPattern, { max: MAX_RULES })),
  /** DNS names that may stand in a CSR; an agent's own SPIFFE ID always may. */
  csr_dns_names: optional(array(dnsPattern, { max: MAX_RULES })),
  csr_organizations: optional(array(text({ maxLength: 64 }), { max: MAX_RULES })),
  /** Origins where an authorization header may be covered that is not provably bound to the key. */
  unbound_authorization: optional(array(origin, { max: MAX_RULES })),
} as const;
export const policySection = object(policySectionMembers);
export type PolicySection = Infer<typeof policySection>;

export type CreateRule = Infer<typeof createRule>;

export interface PolicyRules {
  readonly create: readonly CreateRule[];
  readonly roles: Readonly<Record<Role, readonly CallerSelector[]>>;
  readonly quote: readonly CallerSelector[];
  readonly allowRaw: readonly string[];
  readonly allowDigestWithoutBody: readonly string[];
  readonly jwtTypes: readonly string[];
  readonly csrDnsNames: readonly string[];
  readonly csrOrganizations: readonly string[];
  readonly unboundAuthorization: readonly string[];
}

/** The rules of a `[policy]` section, or of none. */
export function policyRules(section: PolicySection = {}): PolicyRules {
  return {
    create: section.create ?? [],
    roles: {
      operate: section.roles?.operate ?? [],
      approve: section.roles?.approve ?? [],
      policy: section.roles?.policy ?? [],
    },
    quote: section.quote ?? [],
    allowRaw: section.allow_raw ?? [],
    allowDigestWithoutBody: section.allow_digest_without_body ?? [],
    jwtTypes: section.jwt_types ?? [],
    csrDnsNames: section.csr_dns_names ?? [],
    csrOrganizations: section.csr_organizations ?? [],
    unboundAuthorization: section.unbound_authorization ?? [],
  };
}

/** Whether a JWT type matches one of the patterns. */
export function matchesTyp(patterns: readonly string[], typ: string): boolean {
  return patterns.some((pattern) => {
    if (pattern === '*') return true;
    if (pattern.startsWith('*')) return typ.endsWith(pattern.slice(1));
    return pattern.endsWith('*') ? typ.startsWith(pattern.slice(0, -1)) : typ === pattern;
  });
}

/** Whether a DNS name is listed, or is one label below a listed `*.` domain. */
export function matchesDnsName(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    if (!pattern.startsWith('*.')) return name === pattern;
    const dot = name.indexOf('.');
    return dot > 0 && name.slice(dot + 1) === pattern.slice(2);
  });
}

/** Text that `read` accepts. */
function checked(maxLength: number, wrong: string, read: (text: string) => unknown): Shape<string> {
  return refine(text({ maxLength }), (value) => {
    try {
      read(value);
      return undefined;
    } catch (thrown) {
      if (thrown instanceof KeydError) return `${wrong}: ${thrown.message}`;
      throw thrown;
    }
  });
}
