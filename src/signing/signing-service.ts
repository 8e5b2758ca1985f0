/**
 * Typed signing: from a request to a proposal, from policy's answer to a grant, from the grant to a signature,
 * and from the signature to the reply. Implements `SigningApi` of the socket.
 */
import type { Caller } from '../caller/caller.ts';
import type { Authorizer } from '../policy/authorize.ts';
import type { ApprovalDesk } from '../policy/approval-desk.ts';
import type { UsageHistory } from '../policy/counters.ts';
import type { SigningOperation } from '../policy/proposal.ts';
import type { Recorder } from '../policy/recorder.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { Intent } from '../wire/socket/intent.ts';
import type {
  CsrRequest,
  DpopRequest,
  HttpMessageReply,
  HttpMessageRequest,
  JwtRequest,
  RawRequest,
} from '../wire/socket/signing.ts';
import { agentFacts, type Agent, type AgentStore } from './agent.ts';
import { approvalDigest } from './approval-digest.ts';
import { draftCsr } from './csr.ts';
import { describeProposal } from './describe-proposal.ts';
import { draftDpop } from './dpop.ts';
import type { Draft, DraftContext } from './draft.ts';
import { draftHttpMessage } from './http-message.ts';
import { draftJwt } from './jwt.ts';
import { draftRaw } from './raw.ts';
import type { SettleableSignatures } from './settleable.ts';
import { settledRequest } from './settled-request.ts';
import { signRecorded } from './sign-recorded.ts';
import type { Signer } from './signer.ts';

export interface SigningServiceOptions {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly authorizer: Authorizer;
  readonly recorder: Recorder;
  readonly signer: Signer;
  readonly usage: UsageHistory;
  /** Where what may still cost less is remembered. */
  readonly settleable: SettleableSignatures;
  /** Undefined where nobody can be asked: what wants a person is then refused. */
  readonly approvals: ApprovalDesk | undefined;
  /** What a proposal of this agent is made from, read at this moment. */
  readonly draftContext: (agent: Agent) => DraftContext;
}

/** One typed call. */
export interface SigningCall<Reply> {
  readonly operation: SigningOperation;
  readonly caller: Caller;
  /** Id or name. */
  readonly agent: string;
  /** As it was parsed: what an approval is bound to. */
  readonly request: { readonly intent?: Intent | undefined };
  readonly signal: AbortSignal;
  readonly draft: (context: DraftContext) => Draft<Reply>;
  /** How the whole call is made again once a person has allowed it; by default this one. */
  readonly rerun?: (approvalId: string, signal: AbortSignal) => Promise<unknown>;
}

/** A reply, or the approval that has to come first. */
export type SigningResult<Reply> = Signed<Reply> | PendingApproval;
/** What was asked for; for what costs something, the reservation it is settled by. */
export type Signed<Reply> = Reply & { readonly reservation?: string };
export type PendingApproval = ReturnType<ApprovalDesk['open']>;

export class SigningService {
  readonly #options: SigningServiceOptions;

  constructor(options: SigningServiceOptions) {
    this.#options = options;
  }

  httpMessage(
    caller: Caller,
    agent: string,
    request: HttpMessageRequest,
    signal: AbortSignal,
  ): Promise<SigningResult<HttpMessageReply>> {
    const draft = (context: DraftContext) => draftHttpMessage(context, request);
    return this.sign({ operation: 'http-message', caller, agent, request, signal, draft });
  }

  dpop(
    caller: Caller,
    agent: string,
    request: DpopRequest,
    signal: AbortSignal,
  ): Promise<SigningResult<{ readonly proof: string }>> {
    const draft = (context: DraftContext) => draftDpop(context, request);
    return this.sign({ operation: 'dpop', caller, agent, request, signal, draft });
  }

  jwt(
    caller: Caller,
    agent: string,
    request: JwtRequest,
    signal: AbortSignal,
  ): Promise<SigningResult<{ readonly jwt: string }>> {
    const draft = (context: DraftContext) => draftJwt(context, request);
    return this.sign({ operation: 'jwt', caller, agent, request, signal, draft });
  }

  csr(
    caller: Caller,
    agent: string,
    request: CsrRequest,
    signal: AbortSignal,
  ): Promise<SigningResult<{ readonly csr: string }>> {
    const draft = (context: DraftContext) => draftCsr(context, request);
    return this.sign({ operation: 'csr', caller, agent, request, signal, draft });
  }

  raw(
    caller: Caller,
    agent: string,
    request: RawRequest,
    signal: AbortSignal,
  ): Promise<SigningResult<{ readonly signature: string }>> {
    const draft = (context: DraftContext) => draftRaw(context, request);
    return this.sign({ operation: 'raw', caller, agent, request, signal, draft });
  }

  /**
   * Any typed call, from request to reply.
   * @param approvalId set at release of what a person has allowed: all is judged again (S12)
   */
  async sign<Reply extends object>(
    call: SigningCall<Reply>,
    approvalId?: string,
  ): Promise<SigningResult<Reply>> {
    const { authorizer, approvals, recorder } = this.#options;
    const { caller, operation, request, signal } = call;
    const agent = await this.#usableAgent(operation, caller, call.agent);
    const drafted = await this.#draft(operation, caller, agent, (context) =>
      call.draft(this.#untilApprovalEnds(context, approvalId)),
    );
    const { proposal } = drafted;
    const authorization = await authorizer.authorize(caller, proposal, {
      intent: request.intent,
      signal,
      ...(approvalId === undefined || approvals === undefined
        ? {}
        : {
            approved: (terms, decision) => {
              const digest = approvalDigest(caller, agent, operation, request, terms, decision);
              approvals.claim(approvalId, caller, digest);
            },
          }),
    });
    const { decision, authority } = authorization;
    const entry = {
      caller,
      decision,
      ...describeProposal(proposal),
      ...(authority === undefined ? {} : { authority }),
      ...(request.intent === undefined ? {} : { intent: request.intent }),
    };
    if ('refusal' in authorization) {
      await recorder.decision({ ...entry, refusal: authorization.refusal.code });
      throw authorization.refusal;
    }
    if ('pending' in authorization) {
      await recorder.decision(entry);
      if (approvals === undefined) throw new KeydError('policy_denied', 'a person would have to allow this');
      const { pending } = authorization;
      const approval = approvals.open({
        caller,
        agent: agentFacts(agent),
        digest: approvalDigest(caller, agent, operation, request, pending, decision),
        operation,
        summary: entry.parameters,
        policies: decision.policies,
        charges: pending.charges,
        level: pending.level,
        run: call.rerun ?? ((id, signalOfPoll) => this.sign({ ...call, signal: signalOfPoll }, id)),
      });
      return approval;
    }
    const { agentMayReport, grant, reservation } = authorization;
    const signature = await signRecorded(this.#options, { entry, grant, reservation, signal });
    this.#options.usage.signed(agent.id, originOf(proposal.parameters));
    const reply = drafted.assemble(signature);
    if (reservation === undefined) return reply;
    this.#options.settleable.remember(reservation.id, {
      ...settledRequest(proposal, reply),
      agentId: agent.id,
      agentMayReport,
    });
    return { ...reply, reservation: reservation.id };
  }

  #untilApprovalEnds(context: DraftContext, approvalId: string | undefined): DraftContext {
    const { approvals } = this.#options;
    if (approvalId === undefined || approvals === undefined) return context;
    return { ...context, approvalEndsAtMs: approvals.endsAtMs(approvalId) };
  }

  async #usableAgent(operation: SigningOperation, caller: Caller, idOrName: string): Promise<Agent> {
    const agent = this.#options.agents.find(idOrName);
    if (agent === undefined) throw new KeydError('agent_not_found', 'there is no such agent');
    const { decision, refusal } = await this.#options.authorizer.authorizeAction(caller, {
      action: 'agent-use',
      agent: agentFacts(agent),
    });
    if (refusal === undefined) return agent;
    await this.#options.recorder.decision({
      caller,
      decision,
      action: operation,
      agent: agentFacts(agent),
      parameters: {},
      refusal: refusal.code,
    });
    throw refusal;
  }

  /** What no policy can allow (S1, S7) is refused here, and recorded like any other denial. */
  async #draft<Reply>(
    operation: SigningOperation,
    caller: Caller,
    agent: Agent,
    draft: (context: DraftContext) => Draft<Reply>,
  ): Promise<Draft<Reply>> {
    try {
      return draft(this.#options.draftContext(agent));
    } catch (thrown) {
      const error = asKeydError(thrown);
      if (error.status === 403) {
        const { policyVersion } = this.#options.authorizer;
        await this.#options.recorder.decision({
          caller,
          decision: { effect: 'deny', policies: ['built-in'], policyVersion },
          action: operation,
          agent: agentFacts(agent),
          parameters: {},
          refusal: error.code,
        });
      }
      throw thrown;
    }
  }
}

function originOf(parameters: object): string | undefined {
  return 'target' in parameters ? (parameters.target as { readonly origin: string }).origin : undefined;
}
