/**
 * The one place that lets a key be used. A request passes, in this order: the host's own rules, the chain of
 * its agent's authority, the policy set, the external decision point, a person where a policy wants one, and
 * the ledger; the first that says no decides.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Caller } from '../caller/caller.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { Intent } from '../wire/socket/intent.ts';
import type { AgentAuthority, AuthoritySource } from './authority.ts';
import { callInWords } from './call-in-words.ts';
import type { Charge, Counters, Reservation, UsageHistory } from './counters.ts';
import {
  judgeAction,
  judgeSigning,
  POLICY_ACTIONS,
  type ApprovedNames,
  type Judgement,
  type PolicyAction,
} from './judge.ts';
import type {
  ActionAuthorization,
  Decision,
  DecisionPoint,
  PendingTerms,
  SigningAuthorization,
} from './decision.ts';
import { chargesTogether, demandsOf, type Judged, type Permitted } from './judged.ts';
import { JudgedFacts } from './judged-facts.ts';
import { secondOpinion, termsChanged, DECISION_POINT } from './second-opinion.ts';
import { GrantBook, type Grant, type GrantContents } from './minted-grant.ts';
import type { ActionRequest, AgentFacts, Proposal } from './proposal.ts';
import type { PolicyRules } from './rules.ts';
import type { AttestationFacts, DecisionFacts, ObservedVerdict, PolicyEngine } from './verdict.ts';

export type { Grant, GrantContents } from './minted-grant.ts';

export interface AuthorizerOptions {
  readonly rules: PolicyRules;
  readonly engine: PolicyEngine;
  readonly authority: AuthoritySource;
  /** Undefined where nothing can be spent on this host: what costs something is then refused. */
  readonly counters: Counters | undefined;
  readonly usage: UsageHistory;
  readonly attestation: (agent: AgentFacts) => AttestationFacts;
  readonly decisionPoint?: DecisionPoint | undefined;
  /** Asked at each creation: enrolment can change it. */
  readonly approvedNames: () => ApprovedNames;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** What comes with a proposal without being signed. */
export interface AuthorizeContext {
  readonly intent?: Intent | undefined;
  readonly signal: AbortSignal;
  /** Whether a person has allowed exactly this: asked once all else permits, at release (S12). */
  readonly approved?: (terms: PendingTerms, decision: Decision) => void;
}

export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #now: () => number;
  readonly #grants = new GrantBook();
  #rules: PolicyRules;
  #engine: PolicyEngine;
  #version = 1;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    this.#rules = structuredClone(options.rules);
    this.#engine = options.engine;
    this.#now = options.now ?? Date.now;
  }

  /** Counts reloads, from 1. */
  get policyVersion(): number {
    return this.#version;
  }

  /** Judges a proposal. A refusal is an answer, not a throw, so that it is recorded like a grant. */
  async authorize(
    caller: Caller,
    proposal: Proposal,
    context: AuthorizeContext,
  ): Promise<SigningAuthorization> {
    const first = this.#judge(caller, proposal, context.intent);
    if ('refusal' in first) return { authority: undefined, ...first };
    const { decisionPoint } = this.#options;
    if (decisionPoint === undefined) return this.#conclude(caller, proposal, first, context);
    const demands = demandsOf(first);
    const opinion = await secondOpinion(decisionPoint, first.request, demands, context.signal);
    if (!opinion.permitted) {
      const decision = this.#decision('deny', [DECISION_POINT], first.decision.observed);
      return { decision, authority: first.authority, refusal: opinion.refusal };
    }
    // Time has passed: what was true before the question need not be true after it.
    const again = this.#judge(caller, proposal, context.intent);
    if ('refusal' in again) return { authority: undefined, ...again };
    const { policies, observed } = again.decision;
    if (!isDeepStrictEqual(demandsOf(again), demands)) {
      const decision = this.#decision('deny', policies, observed);
      return { decision, authority: again.authority, refusal: termsChanged() };
    }
    const decision = this.#decision('permit', [...policies, DECISION_POINT], observed);
    return this.#conclude(caller, proposal, { ...again, decision }, context);
  }

  /**
   * A link that is renewed on the terms its delegation was granted on: the daemon's own act, for which no
   * caller is judged. The chain still is.
   * @throws KeydError `internal` for any other operation, `no_grant`, `authority_exceeded`, `delegation_*`
   */
  authorizeRenewal(proposal: Proposal): Extract<SigningAuthorization, { grant: Grant }> {
    if (proposal.parameters.operation !== 'delegate') {
      throw new KeydError('internal', 'only links of delegations are renewed without a caller');
    }
    const authority = this.#options.authority.of(proposal.agent);
    if (authority === undefined) throw noGrant(proposal.agent);
    const exceeded = authority.refuses(proposal, [], []);
    if (exceeded !== undefined) throw new KeydError('authority_exceeded', exceeded);
    const decision = this.#decision('permit', ['built-in:link-renewal']);
    const grant = this.#grants.mint(undefined, proposal, decision);
    return { decision, authority, grant, reservation: undefined, agentMayReport: false };
  }

  /** Judges what is not signing. */
  // eslint-disable-next-line @typescript-eslint/require-await -- a decision may take I/O
  async authorizeAction(caller: Caller, request: ActionRequest): Promise<ActionAuthorization> {
    const judgement = judgeAction(this.#rules, caller, request, this.#options.approvedNames());
    if (judgement.effect === 'ask-policy') {
      if (!('agent' in request)) throw new KeydError('internal', 'policy was asked about no agent');
      return this.#authorizeUse(caller, request.agent, judgement.action);
    }
    return this.#concludeAction(judgement);
  }

  /**
   * What the grant allows; this once.
   * @throws KeydError `internal` for what is no grant of this authorizer or was redeemed before,
   *   `policy_denied` where the rules have changed since, `deadline_exceeded`
   */
  redeem(grant: Grant): GrantContents {
    const contents = this.#grants.take(grant);
    if (contents.policyVersion !== this.#version) {
      throw new KeydError('policy_denied', 'the policy changed while the request waited; ask again');
    }
    if (this.#now() > contents.notAfterMs) {
      throw new KeydError('deadline_exceeded', 'the request waited too long for the hardware; ask again');
    }
    return contents;
  }

  /** Ends a grant; true if it was not redeemed, so that the hardware was certainly not asked. */
  withdraw(grant: Grant): boolean {
    return this.#grants.withdraw(grant);
  }

  /** Whether this caller would be shown the agent; for lists, which are not decisions of their own. */
  maySee(caller: Caller, agent: AgentFacts): boolean {
    const request = { action: 'agent-show', agent } as const;
    const judgement = judgeAction(this.#rules, caller, request, this.#options.approvedNames());
    if (judgement.effect !== 'ask-policy') return judgement.effect === 'permit';
    return this.#authorizeUse(caller, agent, judgement.action).refusal === undefined;
  }

  /** Puts other rules and policies in force, at once and as a whole; grants of the old ones end. */
  replace(rules: PolicyRules, engine: PolicyEngine): void {
    this.#rules = structuredClone(rules);
    this.#engine = engine;
    this.#version += 1;
  }

  /** Whether this agent's key may sign raw octets: such an agent holds no delegations, budgets or WIT (S1). */
  mayRawSign(agentName: string): boolean {
    return this.#rules.allowRaw.includes(agentName) && this.#engine.mayRawSign(agentName);
  }

  #judge(caller: Caller, proposal: Proposal, intent: Intent | undefined): Judged {
    const host = judgeSigning(this.#rules, caller, proposal);
    if (host.effect === 'deny') return this.#denied(host);
    const { agent, parameters, binds, times } = proposal;
    try {
      const authority = this.#options.authority.of(agent);
      const unbound = authority?.readsUnbound(proposal);
      if (unbound !== undefined) {
        return this.#refused('unbound_parameters', unbound, ['delegation-chain'], authority);
      }
      const facts = this.#facts(caller, agent, originOf(proposal), intent, authority);
      const request = { caller, agent, parameters, binds, facts, endsAtMs: times?.expiresAtMs };
      const verdict = this.#engine.evaluate(request);
      const { policies, observed } = verdict;
      if (verdict.effect === 'deny')
        return this.#refused(verdict.code, verdict.reason, policies, authority, observed);
      const { obligations } = verdict;
      const charges = chargesTogether(authority?.charges, obligations.charges);
      if (charges.length > 0 && authority === undefined) {
        return this.#refused('no_grant', noGrant(agent).message, policies, authority, observed);
      }
      const exceeded = authority?.refuses(proposal, obligations.scopes, charges);
      if (exceeded !== undefined) {
        return this.#refused('authority_exceeded', exceeded, ['delegation-chain'], authority, observed);
      }
      const deciding = host.policies.length === 0 ? policies : [...host.policies, ...policies];
      const decision = this.#decision('permit', deciding, observed);
      return { request, decision, authority, obligations, charges };
    } catch (thrown) {
      const refusal = asKeydError(thrown);
      // What the chain says of itself is a denial; anything else is a fault, and denies as well (S19).
      return { refusal, decision: this.#decision('deny', ['delegation-chain']) };
    }
  }

  /** From the judgement to the grant without a pause, so that nothing comes between it and the reservation. */
  #conclude(
    caller: Caller,
    proposal: Proposal,
    judged: Permitted,
    context: AuthorizeContext,
  ): SigningAuthorization {
    const { authority, charges, decision, obligations } = judged;
    const { agentMayReport = false, approval } = obligations;
    if (approval !== 'none') {
      const terms = { level: approval, charges };
      if (context.approved === undefined) {
        return { decision: { ...decision, effect: 'pending' }, authority, pending: terms };
      }
      try {
        context.approved(terms, decision);
      } catch (thrown) {
        const denied = this.#decision('deny', decision.policies, decision.observed);
        return { decision: denied, authority, refusal: asKeydError(thrown) };
      }
    }
    try {
      const reservation = this.#reserve(proposal, authority, charges);
      const grant = this.#grants.mint(caller, proposal, decision);
      return { decision, authority, grant, reservation, agentMayReport };
    } catch (thrown) {
      const denied = this.#decision('deny', decision.policies, decision.observed);
      return { decision: denied, authority, refusal: asKeydError(thrown) };
    }
  }

  #reserve(
    proposal: Proposal,
    authority: AgentAuthority | undefined,
    charges: readonly Charge[],
  ): Reservation | undefined {
    if (charges.length === 0) return undefined;
    const { agent } = proposal;
    if (authority === undefined) throw noGrant(agent);
    const { counters } = this.#options;
    if (counters === undefined) throw new KeydError('ledger_unavailable', 'this host keeps no ledger');
    const { account, grantId } = authority;
    return counters.reserve({ account, grantId, agentId: agent.id, call: callInWords(proposal) }, charges);
  }

  #authorizeUse(caller: Caller, agent: AgentFacts, action: PolicyAction): ActionAuthorization {
    const facts = this.#facts(caller, agent);
    const parameters = { operation: POLICY_ACTIONS[action] };
    const verdict = this.#engine.evaluate({ caller, agent, parameters, facts });
    const decision = this.#decision(verdict.effect, verdict.policies, verdict.observed);
    return verdict.effect === 'permit'
      ? { decision }
      : { decision, refusal: new KeydError(verdict.code, verdict.reason) };
  }

  #facts(
    caller: Caller,
    agent: AgentFacts,
    origin?: string,
    intent?: Intent,
    authority?: AgentAuthority,
  ): DecisionFacts {
    const call = { nowMs: this.#now(), caller, agent, origin, intent, authority, rules: this.#rules };
    return new JudgedFacts(this.#options, call);
  }

  #concludeAction(judgement: Judgement): ActionAuthorization {
    const decision = this.#decision(judgement.effect, judgement.policies);
    return judgement.effect === 'deny'
      ? { decision, refusal: new KeydError(judgement.code, judgement.reason) }
      : { decision };
  }

  #denied({ code, reason, policies }: Extract<Judgement, { effect: 'deny' }>): Judged {
    return { refusal: new KeydError(code, reason), decision: this.#decision('deny', policies) };
  }

  #refused(
    code: KeydError['code'],
    reason: string,
    policies: readonly string[],
    authority: AgentAuthority | undefined,
    observed?: readonly ObservedVerdict[],
  ): Judged {
    const decision = this.#decision('deny', policies, observed);
    return {
      refusal: new KeydError(code, reason),
      decision,
      ...(authority === undefined ? {} : { authority }),
    };
  }

  #decision(
    effect: Decision['effect'],
    policies: readonly string[],
    observed: readonly ObservedVerdict[] = [],
  ): Decision {
    const decided = { effect, policies: Object.freeze([...policies]), policyVersion: this.#version };
    return Object.freeze(observed.length === 0 ? decided : { ...decided, observed });
  }
}

function originOf({ parameters }: Proposal): string | undefined {
  return 'target' in parameters ? parameters.target.origin : undefined;
}

function noGrant(agent: AgentFacts): KeydError {
  return new KeydError(
    'no_grant',
    `${agent.name} has no grant of a principal; the issuer gives one with its credentials once the host’s approval names it`,
  );
}
