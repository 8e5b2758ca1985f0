/** Approvals for people with the role approve, and for those who wait for them. Implements `ApprovalApi`. */
import type { Caller } from '../caller/caller.ts';
import type { Approval, ApprovalDesk } from '../policy/approval-desk.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import type { ApprovalApi } from '../socket/services.ts';

export interface ApprovalServiceOptions extends ActionGate {
  readonly desk: ApprovalDesk;
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

  /** @throws KeydError `policy_denied`, `approval_not_found`, `approval_void` */
  async decide(caller: Caller, approval: string, decision: 'allow' | 'deny'): Promise<Approval> {
    const request = { action: 'approval-decide', approval, decision } as const;
    // eslint-disable-next-line @typescript-eslint/require-await -- so that what decide throws is its rejection
    return requireAction(this.#options, caller, request, async () =>
      this.#options.desk.decide(caller, approval, decision),
    );
  }

  /**
   * The call is judged and recorded anew when it is made; asking for it is not a decision of its own.
   * @throws KeydError `approval_*`, and what the call throws
   */
  async collect(caller: Caller, approval: string, signal: AbortSignal): Promise<unknown> {
    return this.#options.desk.collect(caller, approval, signal);
  }
}
