import { AgentIndex } from './agent-index.ts';
import type { CompiledPolicy } from './compile-policy.ts';

/** Policies by agent and by the origins that they are pinned to, found without asking each of them. File order is kept. */
export class OriginIndex {
  readonly #order: ReadonlyMap<CompiledPolicy, number>;
  readonly #all: AgentIndex<CompiledPolicy>;
  readonly #anywhere: AgentIndex<CompiledPolicy>;
  readonly #pinned: ReadonlyMap<string | number, AgentIndex<CompiledPolicy>>;

  constructor(policies: readonly CompiledPolicy[]) {
    this.#order = new Map(policies.map((policy, number) => [policy, number]));
    this.#all = new AgentIndex(policies);
    this.#anywhere = new AgentIndex(policies.filter(({ pins }) => !pins.has('origin')));
    const pinned = new Map<string | number, CompiledPolicy[]>();
    for (const policy of policies) {
      for (const origin of policy.pins.get('origin') ?? []) {
        pinned.set(origin, [...(pinned.get(origin) ?? []), policy]);
      }
    }
    this.#pinned = new Map([...pinned].map(([origin, those]) => [origin, new AgentIndex(those)]));
  }

  /** @param origin leaves out those that are pinned to others; undefined leaves out none */
  covering(agentName: string, origin?: string): readonly CompiledPolicy[] {
    if (origin === undefined) return this.#all.covering(agentName);
    const anywhere = this.#anywhere.covering(agentName);
    const here = this.#pinned.get(origin)?.covering(agentName) ?? [];
    if (here.length === 0) return anywhere;
    return [...anywhere, ...here].sort((a, b) => this.#number(a) - this.#number(b));
  }

  #number(policy: CompiledPolicy): number {
    return this.#order.get(policy) ?? 0;
  }
}
