import type { Caller } from '../caller/caller.ts';
import type { Intent } from '../wire/socket/intent.ts';
import type { AgentAuthority } from './authority.ts';
import type { Counters, Usage, UsageHistory } from './counters.ts';
import { callerRoles } from './judge.ts';
import type { AgentFacts } from './proposal.ts';
import type { PolicyRules } from './rules.ts';
import type { AttestationFacts, DecisionFacts } from './verdict.ts';

/** Where facts come from. */
export interface FactSources {
  readonly counters: Counters | undefined;
  readonly usage: UsageHistory;
  readonly attestation: (agent: AgentFacts) => AttestationFacts;
}

/** What is judged, as far as facts depend on it. */
export interface JudgedCall {
  readonly nowMs: number;
  readonly caller: Caller;
  readonly agent: AgentFacts;
  readonly origin: string | undefined;
  readonly intent: Intent | undefined;
  readonly authority: AgentAuthority | undefined;
  readonly rules: PolicyRules;
}

/**
 * Facts of one judgement, each looked up when a policy asks for it: most policies ask for few, and a judgement
 * takes no time in which they could change.
 */
export class JudgedFacts implements DecisionFacts {
  readonly #sources: FactSources;
  readonly #call: JudgedCall;

  constructor(sources: FactSources, call: JudgedCall) {
    this.#sources = sources;
    this.#call = call;
  }

  get nowMs(): number {
    return this.#call.nowMs;
  }

  get authority(): AgentAuthority | undefined {
    return this.#call.authority;
  }

  get intent(): Intent | undefined {
    return this.#call.intent;
  }

  get attestation(): AttestationFacts {
    return this.#sources.attestation(this.#call.agent);
  }

  get budgets(): DecisionFacts['budgets'] {
    const { authority } = this.#call;
    return authority === undefined ? [] : (this.#sources.counters?.budgets(authority.account) ?? []);
  }

  get usage(): Usage {
    const { agent, origin } = this.#call;
    return this.#sources.usage.of(agent.id, origin);
  }

  get roles(): DecisionFacts['roles'] {
    return callerRoles(this.#call.rules, this.#call.caller);
  }
}
