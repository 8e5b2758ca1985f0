/** Approvals for people with the role approve, and for those who wait for them. Implements `ApprovalApi`. */
import type { Caller } from '../caller/caller.ts';
import type { Approval, ApprovalDesk } from '../policy/approval-desk.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import { agentFacts, type Agent, type AgentStore } from '../signing/agent.ts';
import type { ApprovalApi } from '../socket/services.ts';
import { KeydError } from '../wire/problem.ts';

export interface ApprovalServiceOptions extends ActionGate {
  readonly desk: ApprovalDesk;
  readonly agents: Pick<AgentStore, 'find'>;
}

export class ApprovalService implements ApprovalApi {
  readonly #options: ApprovalServiceOptions;

  constructor(options: ApprovalServiceOptions) {
    this.#options = options;
  }

  /** @throws KeydError `policy_denied` */
  async list(caller: Caller): Promise<readonly Approval[]> {
    return requireAction(this.#options, caller, { action: 'approval-list' }, () =>
      Promise.resolve(this.#options.desk.list()),
    );
  }

  /**
   * By the role approve and, below it, the policy set: `Action::"approve"` with the agent that asked.
   * @throws KeydError `policy_denied`, `approval_not_found`, `approval_void`
   */
  async decide(caller: Caller, approval: string, decision: 'allow' | 'deny'): Promise<Approval> {
    const agent = await this.#agentOf(caller, approval);
    const request = { action: 'approval-decide', agent: agentFacts(agent), approval, decision } as const;
    // eslint-disable-next-line @typescript-eslint/require-await -- so that what decide throws is its rejection
    return requireAction(this.#options, caller, request, async () =>
      this.#options.desk.decide(caller, approval, decision),
    );
  }

  /** What there is, and whose, is only for those who may see the list. */
  async #agentOf(caller: Caller, approval: string): Promise<Agent> {
    const { authorizer, agents, desk } = this.#options;
    const { refusal } = await authorizer.authorizeAction(caller, { action: 'approval-list' });
    if (refusal !== undefined) throw refusal;
    const agent = agents.find(desk.find(approval).agentId);
    if (agent !== undefined) return agent;
    throw new KeydError('approval_void', 'the agent that asked is gone');
  }

  /**
   * The call is judged and recorded anew when it is made; asking for it is not a decision of its own.
   * @throws KeydError `approval_*`, and what the call throws
   */
  async collect(caller: Caller, approval: string, signal: AbortSignal): Promise<unknown> {
    return this.#options.desk.collect(caller, approval, signal);
  }
}
