/**
 * The host's own rules, pure: who manages agents (DECISIONS 7), and the ceiling over what policies may
 * permit. A use that gets through here is not yet permitted: the policy set has to permit it.
 */
import type { Caller } from '../caller/caller.ts';
import { matchesNamePattern, parseAgentName } from '../wire/agent-name.ts';
import type { ErrorCode } from '../wire/problem.ts';
import { matchesCaller } from './caller-selector.ts';
import type { ActionRequest, AgentFacts, Proposal, RawParameters, SigningParameters } from './proposal.ts';
import { matchesDnsName, matchesTyp, ROLES, type PolicyRules, type Role } from './rules.ts';

/** Names that the issuer's approval of this host allows. */
export type ApprovedNames =
  /** No issuer is configured: the local rules stand alone. */
  | { readonly state: 'local' }
  /** An issuer is configured and has not approved this host yet. */
  | { readonly state: 'pending' }
  | { readonly state: 'approved'; readonly patterns: readonly string[] };

export type Judgement =
  | { readonly effect: 'permit'; readonly policies: readonly string[] }
  | {
      readonly effect: 'deny';
      readonly policies: readonly string[];
      readonly code: ErrorCode;
      /** One sentence for the caller. */
      readonly reason: string;
    };

/** What the kernel shows for a uid without a mapping (`kernel.overflowuid`): nobody in particular. */
export const OVERFLOW_UID = 65_534;

/** Is this below the host's ceiling? A permit names the rules that raised it. */
export function judgeSigning(rules: PolicyRules, caller: Caller, proposal: Proposal): Judgement {
  const reach = judgeReach(rules, caller, proposal.agent);
  if (reach.effect === 'deny') return reach;
  return judgeParameters(rules, proposal.agent, proposal.parameters);
}

/** Uses of an agent that the policy set judges, once `judgeReach` lets the caller get that far. */
export const POLICY_ACTIONS = {
  'agent-use': 'use',
  'agent-show': 'show',
  'credentials-read': 'credentials-read',
  'credentials-renew': 'credentials-renew',
  'delegation-revoke': 'revoke',
  'budget-read': 'show',
  'budget-settle': 'use',
  'approval-decide': 'approve',
} as const satisfies Partial<Record<ActionRequest['action'], string>>;

export type PolicyAction = keyof typeof POLICY_ACTIONS;

/** The role operate does these without the policy set's word. */
const OPERATOR_USES: ReadonlySet<ActionRequest['action']> = new Set([
  'agent-show',
  'credentials-read',
  'credentials-renew',
  'delegation-revoke',
  'budget-read',
]);

/** What decides about an action: the host's rules, or below them the policy set. */
export type ActionJudgement = Judgement | { readonly effect: 'ask-policy'; readonly action: PolicyAction };

/** May `caller` do this? */
export function judgeAction(
  rules: PolicyRules,
  caller: Caller,
  request: ActionRequest,
  approved: ApprovedNames,
): ActionJudgement {
  if (isUnnamedOverflow(rules, caller)) return overflowDenied();
  switch (request.action) {
    case 'agent-create':
      return judgeCreate(rules, caller, request, approved);
    case 'agent-use':
    case 'agent-show':
    case 'credentials-read':
    case 'credentials-renew':
    case 'delegation-revoke':
    case 'budget-read':
    case 'budget-settle': {
      const operator = OPERATOR_USES.has(request.action) ? judgeRole(rules, caller, 'operate') : undefined;
      if (operator !== undefined) return operator;
      const reach = judgeReach(rules, caller, request.agent);
      return reach.effect === 'deny' ? reach : { effect: 'ask-policy', action: request.action };
    }
    case 'agent-rotate':
    case 'agent-retire':
    case 'budget-top-up':
      return judgeRole(rules, caller, 'operate') ?? judgeManage(rules, caller, request.agent);
    case 'agent-export-tss2':
    case 'host-enrol':
    case 'host-adopt-tpm':
    case 'ledger-accept-rollback':
    case 'audit-read':
      return requireRole(rules, caller, 'operate');
    case 'approval-list':
      return requireRole(rules, caller, 'approve');
    case 'approval-decide': {
      const role = requireRole(rules, caller, 'approve');
      return role.effect === 'deny' ? role : { effect: 'ask-policy', action: request.action };
    }
    case 'policy-read':
    case 'policy-reload':
      return requireRole(rules, caller, 'policy');
    case 'host-quote': {
      const index = rules.quote.findIndex((selector) => matchesCaller(selector, caller));
      if (caller.ingress.kind !== 'agent' && index >= 0) return permit(`quote[${index}]`);
      return (
        judgeRole(rules, caller, 'operate') ?? deny('policy_denied', 'no rule lets this caller have a quote')
      );
    }
  }
}

/** An agent's socket knows only that agent and its descendants (S11). */
function judgeReach(rules: PolicyRules, caller: Caller, agent: AgentFacts): Judgement {
  if (isUnnamedOverflow(rules, caller)) return overflowDenied();
  return inScope(caller, agent.name) ? permit() : deny('agent_not_found', 'this socket serves another agent');
}

function judgeManage(rules: PolicyRules, caller: Caller, agent: AgentFacts): Judgement {
  const reach = judgeReach(rules, caller, agent);
  if (reach.effect === 'deny') return reach;
  if (caller.uid !== agent.ownerUid) {
    return deny('policy_denied', `uid ${caller.uid} does not own the agent ${agent.name}`);
  }
  const rule = createRuleFor(rules, caller, agent.name);
  if (rule === undefined) {
    return deny('policy_denied', `no rule lets uid ${caller.uid} manage the agent ${agent.name}`);
  }
  return permit('owner', rule);
}

function judgeCreate(
  rules: PolicyRules,
  caller: Caller,
  request: Extract<ActionRequest, { action: 'agent-create' }>,
  approved: ApprovedNames,
): Judgement {
  const operator = judgeRole(rules, caller, 'operate');
  if (operator === undefined) {
    if (caller.ingress.kind !== 'shared') {
      return deny('policy_denied', 'agents are created on the shared socket, or by an operator');
    }
    if (request.ownerUid !== caller.uid) {
      return deny('policy_denied', 'only an operator may create an agent for another uid');
    }
  }
  if (approved.state === 'pending') {
    return deny('not_enrolled', 'this host is not enrolled, so that no agent name is approved yet');
  }
  const name = parseAgentName(request.name);
  if (
    approved.state === 'approved' &&
    !approved.patterns.some((pattern) => matchesNamePattern(pattern, name))
  ) {
    return deny('name_not_permitted', `the approval of this host does not cover the name ${request.name}`);
  }
  if (operator !== undefined) return operator;
  const rule = createRuleFor(rules, caller, request.name);
  return rule === undefined
    ? deny('name_not_permitted', `no rule lets uid ${caller.uid} create an agent named ${request.name}`)
    : permit(rule);
}

/** The rule that lets this caller manage agents of this name; a sub-agent goes with its root agent. */
function createRuleFor(rules: PolicyRules, caller: Caller, agentName: string): string | undefined {
  const root = parseAgentName(parseAgentName(agentName).segments[0] ?? '');
  const index = rules.create.findIndex(
    (rule) => matchesCaller(rule, caller) && rule.names.some((pattern) => matchesNamePattern(pattern, root)),
  );
  return index < 0 ? undefined : `create[${index}]`;
}

/** The caller's roles: on the admin socket, by its rules, and nowhere else (S11). */
export function callerRoles(rules: PolicyRules, caller: Caller): readonly Role[] {
  return ROLES.filter((role) => judgeRole(rules, caller, role) !== undefined);
}

function judgeRole(rules: PolicyRules, caller: Caller, role: Role): Judgement | undefined {
  if (caller.ingress.kind !== 'admin') return undefined;
  const index = rules.roles[role].findIndex((selector) => matchesCaller(selector, caller));
  return index < 0 ? undefined : permit(`roles.${role}[${index}]`);
}

function requireRole(rules: PolicyRules, caller: Caller, role: Role): Judgement {
  return (
    judgeRole(rules, caller, role) ?? deny('policy_denied', `this needs the role ${role} on the admin socket`)
  );
}

function judgeParameters(rules: PolicyRules, agent: AgentFacts, parameters: SigningParameters): Judgement {
  switch (parameters.operation) {
    case 'http-message': {
      const { authorization, content, target } = parameters;
      if (content.kind === 'digest' && !rules.allowDigestWithoutBody.includes(agent.name)) {
        return deny(
          'digest_without_body',
          'send the body: a Content-Digest whose content nobody has read is not signed',
        );
      }
      if (authorization?.bound === false && !rules.unboundAuthorization.includes(target.origin)) {
        return deny(
          'token_not_bound',
          'the authorization header holds no token bound to this key; a rule may allow that for an origin (unbound_authorization)',
        );
      }
      return permit(
        ...(content.kind === 'digest' ? ['allow_digest_without_body'] : []),
        ...(authorization?.bound === false ? ['unbound_authorization'] : []),
      );
    }
    case 'dpop':
      return permit();
    case 'jwt':
      return matchesTyp(rules.jwtTypes, parameters.typ)
        ? permit('jwt_types')
        : deny('policy_denied', `no rule allows JWTs of the type ${parameters.typ}`);
    case 'csr': {
      const foreign = parameters.dnsNames.find((name) => !matchesDnsName(rules.csrDnsNames, name));
      if (foreign !== undefined)
        return deny('policy_denied', `no rule allows the DNS name ${foreign} in a CSR`);
      const { organization } = parameters;
      if (organization !== undefined && !rules.csrOrganizations.includes(organization)) {
        return deny('policy_denied', 'no rule allows this organization in a CSR');
      }
      return permit();
    }
    case 'raw':
      return judgeRaw(rules, agent, parameters);
    case 'delegate':
      return permit();
  }
}

function judgeRaw(rules: PolicyRules, agent: AgentFacts, { credentialsEndAtMs }: RawParameters): Judgement {
  if (!rules.allowRaw.includes(agent.name)) {
    return deny(
      'raw_signing_off',
      `raw signing is off for ${agent.name}: whoever may have any octets signed can forge every other proof`,
    );
  }
  if (credentialsEndAtMs !== undefined) {
    const until = new Date(credentialsEndAtMs).toISOString();
    return deny(
      'raw_signing_off',
      `the key has credentials until ${until}; raw signing begins when they end`,
    );
  }
  return permit('allow_raw');
}

function inScope({ ingress }: Caller, agentName: string): boolean {
  if (ingress.kind !== 'agent') return true;
  return agentName === ingress.agentName || agentName.startsWith(`${ingress.agentName}+`);
}

function isUnnamedOverflow(rules: PolicyRules, caller: Caller): boolean {
  if (caller.uid !== OVERFLOW_UID) return false;
  const selectors = [...rules.create, ...ROLES.flatMap((role) => rules.roles[role]), ...rules.quote];
  return !selectors.some(({ uids }) => uids?.includes(OVERFLOW_UID) === true);
}

function overflowDenied(): Judgement {
  return deny(
    'policy_denied',
    `uid ${OVERFLOW_UID} stands for every uid the kernel can not map here, and no rule names it`,
  );
}

function permit(...policies: readonly string[]): Judgement {
  return { effect: 'permit', policies };
}

function deny(code: ErrorCode, reason: string, ...policies: readonly string[]): Judgement {
  return { effect: 'deny', policies, code, reason };
}
