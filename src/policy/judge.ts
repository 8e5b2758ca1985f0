/**
 * The decision itself: pure, from rules, kernel facts and the request; denies unless something permits.
 * These are the rules before the policy language: an owner uses its agents, configured callers and roles
 * manage them (DECISIONS 7).
 */
import type { Caller } from '../caller/caller.ts';
import { matchesNamePattern, parseAgentName } from '../wire/agent-name.ts';
import type { ErrorCode } from '../wire/problem.ts';
import { matchesCaller } from './caller-selector.ts';
import type { ActionRequest, AgentFacts, Proposal, RawParameters, SigningParameters } from './proposal.ts';
import { matchesDnsName, matchesTyp, type PolicyRules } from './rules.ts';

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

/** May `caller` have this agent's key sign this? */
export function judgeSigning(rules: PolicyRules, caller: Caller, proposal: Proposal): Judgement {
  const use = judgeUse(rules, caller, proposal.agent);
  if (use.effect === 'deny') return use;
  const parameters = judgeParameters(rules, proposal.agent, proposal.parameters);
  return parameters.effect === 'deny' ? parameters : permit(...use.policies, ...parameters.policies);
}

/** May `caller` do this? */
export function judgeAction(
  rules: PolicyRules,
  caller: Caller,
  request: ActionRequest,
  approved: ApprovedNames,
): Judgement {
  if (isUnnamedOverflow(rules, caller)) return overflowDenied();
  switch (request.action) {
    case 'agent-create':
      return judgeCreate(rules, caller, request, approved);
    case 'agent-use':
      return judgeUse(rules, caller, request.agent);
    case 'agent-show':
    case 'credentials-read':
    case 'credentials-renew':
      return either(judgeOperator(rules, caller), () => judgeUse(rules, caller, request.agent));
    case 'agent-rotate':
    case 'agent-retire':
      return either(judgeOperator(rules, caller), () => judgeManage(rules, caller, request.agent));
    case 'agent-export-tss2':
    case 'host-enrol':
    case 'host-adopt-tpm':
      return (
        judgeOperator(rules, caller) ??
        deny('policy_denied', 'this needs the role operate on the admin socket')
      );
    case 'host-quote': {
      const index = rules.quote.findIndex((selector) => matchesCaller(selector, caller));
      if (caller.ingress.kind !== 'agent' && index >= 0) return permit(`quote[${index}]`);
      return judgeOperator(rules, caller) ?? deny('policy_denied', 'no rule lets this caller have a quote');
    }
  }
}

/** The owner uses its agent; an agent's socket knows only that agent and its descendants (S11). */
function judgeUse(rules: PolicyRules, caller: Caller, agent: AgentFacts): Judgement {
  if (isUnnamedOverflow(rules, caller)) return overflowDenied();
  if (!inScope(caller, agent.name)) {
    return deny('agent_not_found', 'this socket serves another agent');
  }
  if (caller.uid !== agent.ownerUid) {
    return deny('policy_denied', `uid ${caller.uid} does not own the agent ${agent.name}`);
  }
  return permit('owner');
}

function judgeManage(rules: PolicyRules, caller: Caller, agent: AgentFacts): Judgement {
  const use = judgeUse(rules, caller, agent);
  if (use.effect === 'deny') return use;
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
  const operator = judgeOperator(rules, caller);
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

function judgeOperator(rules: PolicyRules, caller: Caller): Judgement | undefined {
  if (caller.ingress.kind !== 'admin') return undefined;
  const index = rules.operators.findIndex((selector) => matchesCaller(selector, caller));
  return index < 0 ? undefined : permit(`roles.operate[${index}]`);
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
  const selectors = [...rules.create, ...rules.operators, ...rules.quote];
  return !selectors.some(({ uids }) => uids?.includes(OVERFLOW_UID) === true);
}

function overflowDenied(): Judgement {
  return deny(
    'policy_denied',
    `uid ${OVERFLOW_UID} stands for every uid the kernel can not map here, and no rule names it`,
  );
}

function either(first: Judgement | undefined, second: () => Judgement): Judgement {
  return first ?? second();
}

function permit(...policies: readonly string[]): Judgement {
  return { effect: 'permit', policies };
}

function deny(code: ErrorCode, reason: string, ...policies: readonly string[]): Judgement {
  return { effect: 'deny', policies, code, reason };
}
