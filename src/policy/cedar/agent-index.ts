import { coversAgent, lineage, type AgentScope } from './scope.ts';

interface Scoped {
  readonly scope: { readonly agents: AgentScope };
}

/** Things with a resource scope, found by the agent's name without asking each of them. Order is kept. */
export class AgentIndex<T extends Scoped> {
  readonly #all: readonly T[];
  /** Positions, by the entity that the scope names. */
  readonly #named = new Map<string, number[]>();
  readonly #unnamed: number[] = [];

  constructor(items: readonly T[]) {
    this.#all = items;
    for (const [position, { scope }] of items.entries()) {
      const name = scope.agents.is ?? scope.agents.in;
      if (name === undefined) this.#unnamed.push(position);
      else this.#named.set(name, [...(this.#named.get(name) ?? []), position]);
    }
  }

  covering(agentName: string): readonly T[] {
    const named = lineage(agentName).flatMap((name) => this.#named.get(name) ?? []);
    const positions = named.length === 0 ? this.#unnamed : [...named, ...this.#unnamed].sort((a, b) => a - b);
    return positions.flatMap((position) => {
      const item = this.#all[position];
      return item !== undefined && coversAgent(item.scope.agents, agentName) ? [item] : [];
    });
  }
}
