/** Judges requests by a loaded set. */
import type { AuthorizationAnswer } from '@cedar-policy/cedar-wasm/nodejs';
import type { BoundParameter, SigningParameters } from '../proposal.ts';
import type { PolicyRequest, PolicyVerdict } from '../verdict.ts';
import { AnswerMemory } from '../../base/answer-memory.ts';
import { CandidateIndex, type CandidatePart, type Candidates } from './candidates.ts';
import type { CompiledPolicy } from './compile-policy.ts';
import { cedarRequestOf, questionOf } from './context.ts';
import { deny, type Denial } from './denial.ts';
import { documentDenial } from './document-checks.ts';
import { RequestDocuments } from './documents.ts';
import { explainRequest } from './explain.ts';
import { obligationsOf } from './obligations.ts';
import { OriginIndex } from './origin-index.ts';
import { targetOf } from './plain-context.ts';
import type { Explanation, PolicySet, PolicySummary } from './policy-set.ts';
import { askCedar } from './prepared-sets.ts';
import { coversAgent } from './scope.ts';
import { unboundDenial } from './unbound.ts';

/** What Cedar said: the satisfied permits, or why none counts. A part of the candidates may have no permit. */
type Answer = { readonly permits: readonly CompiledPolicy[] } | { readonly denial: Denial };

const NOTHING_BOUND: ReadonlySet<BoundParameter> = new Set();

export class CedarPolicySet implements PolicySet {
  readonly fingerprint: string;
  readonly policies: readonly PolicySummary[];
  readonly #candidates: CandidateIndex;
  /** Policies that read what a proof may leave open, by agent. */
  readonly #dependent: OriginIndex;
  readonly #rawPermits: readonly CompiledPolicy[];
  readonly #memory = new AnswerMemory<Answer>();

  constructor(policies: readonly CompiledPolicy[], fingerprint: string) {
    this.fingerprint = fingerprint;
    this.policies = policies.map(({ id, effect, file, line }) => ({ id, effect, file, line }));
    this.#candidates = new CandidateIndex(policies);
    this.#dependent = new OriginIndex(
      policies.filter(({ dependence: { request, document } }) => request.size + document.size > 0),
    );
    this.#rawPermits = policies.filter(({ effect, scope }) => effect === 'permit' && scope.exactlyRaw);
  }

  evaluate(request: PolicyRequest): PolicyVerdict {
    try {
      return this.#evaluate(request);
    } catch (thrown) {
      // Whatever it is, it permits nothing.
      const reason = `the policies could not be evaluated: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
      return deny({ code: 'policy_denied', policies: [], reason });
    }
  }

  explain(request: PolicyRequest): Explanation {
    return explainRequest(request, this.evaluate(request), this.#candidates.inScope(request));
  }

  mayRawSign(agentName: string): boolean {
    return this.#rawPermits.some(({ scope }) => coversAgent(scope.agents, agentName));
  }

  #evaluate(request: PolicyRequest): PolicyVerdict {
    const { agent, parameters, binds: bound = NOTHING_BOUND } = request;
    if (parameters.operation === 'raw' && !this.mayRawSign(agent.name)) {
      const reason = `no permit with action == Action::"raw" covers ${agent.name}`;
      return deny({ code: 'raw_signing_off', policies: [], reason });
    }
    const candidates = this.#candidates.of(request);
    const documents = new RequestDocuments(parameters);
    const before = documentDenial(candidates.readers, documents);
    if (before !== undefined) return deny(before);
    const answer = this.#ask(candidates, request, documents);
    if ('denial' in answer) return deny(answer.denial);
    const { permits } = answer;
    const outlived = this.#outlivedDenial(candidates, request, documents, permits);
    if (outlived !== undefined) return deny(outlived);
    if (isSigning(parameters)) {
      const dependent = this.#dependent.covering(agent.name, targetOf(parameters)?.origin);
      const unbound = unboundDenial({ parameters, binds: bound }, dependent, permits);
      if (unbound !== undefined) return deny(unbound);
    }
    const demanded = obligationsOf(permits, documents, bound);
    if ('denial' in demanded) return deny(demanded.denial);
    const { obligations } = demanded;
    return { effect: 'permit', policies: permits.map(({ id }) => id), obligations, observed: [] };
  }

  /** S4: at the proof's last moment it has to be permitted still, by no permit whose demands are not met now. */
  #outlivedDenial(
    candidates: Candidates,
    request: PolicyRequest,
    documents: RequestDocuments,
    permits: readonly CompiledPolicy[],
  ): Denial | undefined {
    if (request.endsAtMs === undefined || !candidates.reads.context.has('time')) return undefined;
    const { attestation, authority, budgets, usage, intent, roles } = request.facts;
    const nowMs = Math.max(request.facts.nowMs, request.endsAtMs - 1);
    const facts = { nowMs, attestation, authority, budgets, usage, intent, roles };
    const last = this.#ask(candidates, { ...request, facts }, documents);
    if ('permits' in last && last.permits.every((policy) => permits.includes(policy))) return undefined;
    const ids =
      'denial' in last && last.denial.policies.length > 0
        ? last.denial.policies
        : permits.map(({ id }) => id);
    const until = new Date(request.endsAtMs).toISOString();
    return {
      code: 'policy_denied',
      policies: ids,
      reason: `the proof would last until ${until}, past what is permitted`,
    };
  }

  /**
   * What all candidates say together. Cedar permits where a permit is satisfied and no forbid is; so the parts are
   * judged apart, a denial of one is the denial, and permits add up.
   */
  #ask({ policies, parts }: Candidates, request: PolicyRequest, documents: RequestDocuments): Answer {
    let permits: readonly CompiledPolicy[] = [];
    const denials: Denial[] = [];
    for (const part of parts) {
      const answer = this.#askPart(part, request, documents);
      if ('denial' in answer) denials.push(answer.denial);
      else if (permits.length === 0) ({ permits } = answer);
      else if (answer.permits.length > 0) permits = inFileOrder(policies, [...permits, ...answer.permits]);
    }
    const [denial] = denials;
    if (denial !== undefined) return { denial: denials.length === 1 ? denial : together(policies, denials) };
    if (permits.length > 0) return { permits };
    return { denial: { code: 'policy_denied', policies: [], reason: refusal([], request) } };
  }

  #askPart(part: CandidatePart, request: PolicyRequest, documents: RequestDocuments): Answer {
    const question = questionOf(request, part.reads, documents);
    // With the part, which has its reads, the text says all of what Cedar is asked.
    return this.#memory.answer(`${part.key} ${JSON.stringify(question)}`, () =>
      readAnswer(askCedar(part.set, cedarRequestOf(question, part.reads)), part, request),
    );
  }
}

function isSigning(parameters: PolicyRequest['parameters']): parameters is SigningParameters {
  switch (parameters.operation) {
    case 'use':
    case 'show':
    case 'credentials-read':
    case 'credentials-renew':
    case 'revoke':
    case 'approve':
      return false;
    default:
      return true;
  }
}

function readAnswer(
  answer: AuthorizationAnswer,
  { policies }: CandidatePart,
  request: PolicyRequest,
): Answer {
  if (answer.type === 'failure') {
    const reason = `the policies could not be evaluated: ${answer.errors[0]?.message ?? 'no reason given'}`;
    return { denial: { code: 'policy_denied', policies: [], reason } };
  }
  const { decision, diagnostics } = answer.response;
  // Cedar leaves out a policy that fails; were it a forbid, leaving it out would permit.
  const [error] = diagnostics.errors;
  if (error !== undefined) {
    const failed = inOrder(policies, new Set(diagnostics.errors.map(({ policyId }) => policyId)));
    const reason = `the policy ${error.policyId} could not be evaluated: ${error.error.message}`;
    return { denial: { code: 'policy_denied', policies: failed.map(({ id }) => id), reason } };
  }
  const deciding = inOrder(policies, new Set(diagnostics.reason));
  // Without a permit and without a forbid the other part decides.
  if (decision === 'allow' || deciding.length === 0) return { permits: deciding };
  return {
    denial: {
      code: 'policy_denied',
      policies: deciding.map(({ id }) => id),
      reason: refusal(deciding, request),
    },
  };
}

function together(policies: readonly CompiledPolicy[], denials: readonly Denial[]): Denial {
  const ids = new Set(denials.flatMap((denial) => denial.policies));
  return {
    code: 'policy_denied',
    policies: inOrder(policies, ids).map(({ id }) => id),
    reason: denials.map(({ reason }) => reason).join('; '),
  };
}

function inFileOrder(
  policies: readonly CompiledPolicy[],
  some: readonly CompiledPolicy[],
): readonly CompiledPolicy[] {
  const wanted = new Set(some);
  return policies.filter((policy) => wanted.has(policy));
}

function inOrder(policies: readonly CompiledPolicy[], ids: ReadonlySet<string>): readonly CompiledPolicy[] {
  return policies.filter(({ id }) => ids.has(id));
}

function refusal(forbids: readonly CompiledPolicy[], { caller, agent, parameters }: PolicyRequest): string {
  const what = `${parameters.operation} of ${agent.name} by uid ${caller.uid}`;
  if (forbids.length === 0) return `no policy permits ${what}`;
  return `${what} is forbidden by ${forbids.map(({ id }) => id).join(', ')}`;
}
