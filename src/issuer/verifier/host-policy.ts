/** What an approved host may have (checks 7 and 27): the record that an operator's approval writes. */
import type { Chain } from '../../delegation/chain.ts';
import { matchesNamePattern, parseAgentName } from '../../wire/agent-name.ts';
import type { CredentialKind, CredentialRequest } from '../../wire/issuance/issue.ts';
import type { Appraisal } from './checks.ts';
import { checkSubAgentChain, type SubAgentRules } from './sub-agent-chain.ts';

/** A PKCS#11 token that the operator registered for a host, as its CK_TOKEN_INFO says, without padding. */
export interface RegisteredToken {
  readonly manufacturer: string;
  readonly model: string;
  readonly serial: string;
}

export interface HostRecord {
  /** SHA-256 of the EK's TPMT_PUBLIC, lower-case hex: who this host is. */
  readonly ekHash: string;
  /** `<host>` in the identifiers of its agents. */
  readonly label: string;
  /** Names its agents may have, `*` for any characters of a segment. */
  readonly namePatterns: readonly string[];
  /** Who answers for the host's agents. */
  readonly principal: string;
  readonly maxTtlSeconds: number;
  /** Kinds of credential its agents may have. */
  readonly profiles: readonly CredentialKind[];
  readonly tokens: readonly RegisteredToken[];
  /** Issuances within any hour, all agents together. */
  readonly maxIssuancesPerHour: number;
}

export interface IssueFacts {
  readonly request: CredentialRequest;
  /** Issuances to this host in the last hour, this one not counted. */
  readonly issuedInLastHour: number;
}

/** Check 7. @throws KeydError `host_not_approved` */
export function checkKnownHost(
  appraisal: Appraisal,
  host: HostRecord | undefined,
  ekHash: string,
): HostRecord {
  return appraisal.check(7, (verdict) => {
    if (host?.ekHash !== ekHash) {
      return verdict.deny(
        `no approved host has the EK ${ekHash}; an operator approves it by that hash`,
        'host_not_approved',
      );
    }
    return host;
  });
}

/** Why this host may not have these credentials, or undefined (check 27). @throws KeydError `invalid_name` */
export function mayIssue(host: HostRecord, facts: IssueFacts): string | undefined {
  const { request } = facts;
  const name = parseAgentName(request.name);
  if (name.depth > 0 && request.chain === undefined) {
    return `${name.text} is a sub-agent; its request carries the chain that delegates to it`;
  }
  if (name.depth === 0 && request.chain !== undefined) return `${name.text} is no sub-agent and has no chain`;
  const root = parseAgentName(name.segments[0] ?? '');
  if (!host.namePatterns.some((pattern) => matchesNamePattern(pattern, root))) {
    return `the name ${root.text} is outside the patterns of ${host.label}: ${host.namePatterns.join(', ') || 'none'}`;
  }
  const kind = request.creds.find((credential) => !host.profiles.includes(credential));
  if (kind !== undefined) return `${host.label} may not have ${kind} credentials`;
  if (new Set(request.creds).size !== request.creds.length) return 'a kind of credential is asked for twice';
  if (request.ttlSeconds > host.maxTtlSeconds) {
    return `a life of ${request.ttlSeconds} s is asked for; ${host.label} may have ${host.maxTtlSeconds} s`;
  }
  if (facts.issuedInLastHour >= host.maxIssuancesPerHour) {
    return `${host.label} has had its ${host.maxIssuancesPerHour} issuances of this hour`;
  }
  return undefined;
}

/** What check 27 asks beside the record: the key, and whose chains count. */
export interface Permission extends IssueFacts {
  readonly keyThumbprint: string;
  readonly subAgents: SubAgentRules | undefined;
}

/** Check 27; gives a sub-agent's chain. @throws KeydError `name_not_permitted`, `invalid_name` */
export function checkPermission(
  appraisal: Appraisal,
  host: HostRecord,
  facts: Permission,
): Chain | undefined {
  return appraisal.check(27, (verdict) => {
    const reason = mayIssue(host, facts);
    if (reason !== undefined) return verdict.deny(reason, 'name_not_permitted');
    if (facts.request.chain === undefined) return undefined;
    const chain = checkSubAgentChain(host.label, facts.request, facts.subAgents);
    if (chain.leaf.claims.cnf.jkt !== facts.keyThumbprint) {
      return verdict.deny('the chain delegates to another key', 'name_not_permitted');
    }
    return chain;
  });
}

/** The registration of a token for this host, all three fields equal. */
export function registeredToken(host: HostRecord, token: RegisteredToken): RegisteredToken | undefined {
  return host.tokens.find(
    ({ manufacturer, model, serial }) =>
      manufacturer === token.manufacturer && model === token.model && serial === token.serial,
  );
}
