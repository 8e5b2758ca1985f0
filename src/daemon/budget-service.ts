/** Budgets as the socket shows and changes them. Implements `BudgetApi`. */
import type { AuditLog } from '../audit/audit-log.ts';
import type { Caller } from '../caller/caller.ts';
import { callerShare } from '../caller/caller.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { requireAction, type ActionGate } from '../policy/require-action.ts';
import type { AgentAuthority, AuthoritySource } from '../policy/authority.ts';
import { agentFacts, type Agent, type AgentStore } from '../signing/agent.ts';
import { delegationAccount, type DelegationStore } from '../signing/delegation.ts';
import { toppedUp } from '../signing/delegation-terms.ts';
import type { SettleableSignatures } from '../signing/settleable.ts';
import { settledCosts, settlementClaim } from '../signing/settled-costs.ts';
import type { LinkRenewer } from '../signing/link-renewer.ts';
import type { BudgetApi } from '../socket/services.ts';
import { KeydError } from '../wire/problem.ts';
import type {
  BudgetHistoryView,
  BudgetView,
  SettlementRequest,
  TopUpRequest,
} from '../wire/socket/budget.ts';
import type { ResourceKeys } from './resource-keys.ts';
import { amountView, historyView } from './budget-views.ts';

export interface BudgetServiceOptions extends ActionGate {
  readonly agents: Pick<AgentStore, 'find'>;
  readonly authority: AuthoritySource;
  readonly delegations: Pick<DelegationStore, 'find'>;
  readonly links: Pick<LinkRenewer, 'reterm'>;
  readonly ledger: Ledger;
  readonly settleable: SettleableSignatures;
  readonly resourceKeys: ResourceKeys;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly audit: Pick<AuditLog, 'append' | 'now'>;
}

export class BudgetService implements BudgetApi {
  readonly #options: BudgetServiceOptions;

  constructor(options: BudgetServiceOptions) {
    this.#options = options;
  }

  /** @throws KeydError `agent_not_found`, `policy_denied`, `no_grant`, `delegation_*` */
  async show(caller: Caller, idOrName: string): Promise<readonly BudgetView[]> {
    const agent = this.#find(idOrName);
    return requireAction(
      this.#options,
      caller,
      { action: 'budget-read', agent: agentFacts(agent) },
      // eslint-disable-next-line @typescript-eslint/require-await -- so that what the chain says is its rejection
      async () => this.#view(agent),
    );
  }

  /**
   * More for a sub-agent, out of what its parent has left; its link is signed anew to say so. The ceilings of a
   * root agent are its issuer's to raise.
   * @throws KeydError `agent_not_found`, `policy_denied`, `conflict`, `budget_exceeded`, `delegation_*`
   */
  async topUp(caller: Caller, idOrName: string, request: TopUpRequest): Promise<readonly BudgetView[]> {
    const agent = this.#find(idOrName);
    const unit = `${request.unit}.${request.decimals}`;
    const amount = BigInt(request.amount);
    const action = { action: 'budget-top-up', agent: agentFacts(agent), unit, amount } as const;
    return requireAction(this.#options, caller, action, async () => {
      const { delegations, ledger, links } = this.#options;
      const delegation = delegations.find(agent.id);
      if (delegation === undefined) {
        throw new KeydError(
          'conflict',
          `${agent.name} has its budget from its grant: the issuer’s hosts.toml sets that`,
        );
      }
      // The link first: what it says and the ledger does not have can not be spent.
      await links.reterm(agent, toppedUp(delegation.terms, unit, amount));
      await ledger.topUp(delegationAccount(agent.id), new Map([[unit, amount]]));
      return this.#view(agent);
    });
  }

  /**
   * Gives back what a signature of the agent did not cost, once, by the word of its resource or, where policy lets
   * it count, of the agent.
   * @throws KeydError `agent_not_found`, `policy_denied`, `not_found`, `conflict`, `budget_exceeded`, and those of
   *   `provenCost`
   */
  async settle(caller: Caller, idOrName: string, request: SettlementRequest): Promise<readonly BudgetView[]> {
    const agent = this.#find(idOrName);
    const { reservation } = request;
    const claim = settlementClaim(request);
    const action = { action: 'budget-settle', agent: agentFacts(agent), reservation, ...claim } as const;
    return requireAction(this.#options, caller, action, async () => {
      const { ledger, now, resourceKeys, settleable } = this.#options;
      const signature = settleable.require(reservation, agent.id);
      await ledger.settle(reservation, settledCosts(request, signature, resourceKeys, now()));
      settleable.forget(reservation);
      return this.#view(agent);
    });
  }

  /**
   * What became of the agent's budget. Of other agents that spend from it, their calls are shown to who may see them.
   * @throws KeydError `agent_not_found`, `policy_denied`, `no_grant`, `delegation_*`, `ledger_unavailable`
   */
  async history(
    caller: Caller,
    idOrName: string,
    before: number | undefined,
    limit: number,
  ): Promise<BudgetHistoryView> {
    const agent = this.#find(idOrName);
    const action = { action: 'budget-read', agent: agentFacts(agent) } as const;
    return requireAction(this.#options, caller, action, async () => {
      const { agents, authorizer, ledger } = this.#options;
      const { account, grantId } = this.#held(agent);
      const page = await ledger.history({ account, grantId, agentId: agent.id, before, limit });
      return historyView(page, (id) => {
        const other = id === agent.id ? agent : agents.find(id);
        const isSeen =
          other !== undefined && (id === agent.id || authorizer.maySee(caller, agentFacts(other)));
        return isSeen ? other.name : undefined;
      });
    });
  }

  /** @throws KeydError `policy_denied`, `conflict`, those of the TPM */
  async acceptRollback(caller: Caller): Promise<{ readonly epoch: string }> {
    return requireAction(this.#options, caller, { action: 'ledger-accept-rollback' }, async () => {
      const { audit, ledger } = this.#options;
      const fault = ledger.state().fault?.code ?? '';
      await ledger.acceptRollback(callerShare(caller));
      const epoch = String(ledger.state().epoch);
      await audit.append({
        at: audit.now(),
        kind: 'event',
        event: 'rollback-accepted',
        detail: { fault, epoch, by: callerShare(caller) },
      }).durable;
      return { epoch };
    });
  }

  #view(agent: Agent): readonly BudgetView[] {
    const { ledger } = this.#options;
    const { account } = this.#held(agent);
    const leases = ledger.leases(account);
    const held = ledger.reserved(account);
    return ledger.budgets(account).map(({ unit, amount, spent, allocated }) => {
      const reserved = held.get(unit) ?? 0n;
      return {
        ...amountView(unit, amount),
        spent: String(spent - reserved),
        reserved: String(reserved),
        allocated: String(allocated),
        lease: String(leases.get(unit) ?? 0n),
      };
    });
  }

  #held(agent: Agent): AgentAuthority {
    const held = this.#options.authority.of(agentFacts(agent));
    if (held === undefined) throw new KeydError('no_grant', `${agent.name} has no grant of its principal`);
    return held;
  }

  #find(idOrName: string): Agent {
    const agent = this.#options.agents.find(idOrName);
    if (agent === undefined) throw new KeydError('agent_not_found', 'there is no such agent');
    return agent;
  }
}
