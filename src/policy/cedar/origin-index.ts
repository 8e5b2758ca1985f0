import { AgentIndex } from './agent-index.ts';
import type { CompiledPolicy } from './compile-policy.ts';

/** Lists, and the policies in them, together: a few megabytes. */
const MAX_REMEMBERED = 262_144;

/** Policies by agent and by the origins that they are pinned to, found without asking each of them. File order is kept. */
export class OriginIndex {
  readonly #order: ReadonlyMap<CompiledPolicy, number>;
  readonly #all: AgentIndex<CompiledPolicy>;
  readonly #anywhere: AgentIndex<CompiledPolicy>;
  readonly #pinned: ReadonlyMap<string | number, AgentIndex<CompiledPolicy>>;
  /**
   * What was found, by agent and by an origin that policies are pinned to: a caller may name as many others as it likes,
   * and they have the same list.
   */
  readonly #found = new Map<string, readonly CompiledPolicy[]>();
  #remembered = 0;

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

  /** How many lists are remembered, and the policies in them, together; for tests. */
  get remembered(): number {
    return this.#remembered;
  }

  /** @param origin leaves out those that are pinned to others; undefined leaves out none */
  covering(agentName: string, origin?: string): readonly CompiledPolicy[] {
    const here = origin === undefined ? undefined : this.#pinned.get(origin);
    // No agent's name has a space in it, and no origin is empty.
    const key = origin !== undefined && here === undefined ? agentName : `${agentName} ${origin ?? ''}`;
    const known = this.#found.get(key);
    if (known !== undefined) return known;
    const found = origin === undefined ? this.#all.covering(agentName) : this.#find(agentName, here);
    this.#remember(key, found);
    return found;
  }

  #remember(key: string, found: readonly CompiledPolicy[]): void {
    if (this.#remembered + 1 + found.length > MAX_REMEMBERED) {
      this.#found.clear();
      this.#remembered = 0;
    }
    this.#found.set(key, found);
    this.#remembered += 1 + found.length;
  }

  #find(agentName: string, pinned: AgentIndex<CompiledPolicy> | undefined): readonly CompiledPolicy[] {
    const anywhere = this.#anywhere.covering(agentName);
    const here = pinned?.covering(agentName) ?? [];
    if (here.length === 0) return anywhere;
    return [...anywhere, ...here].sort((a, b) => this.#number(a) - this.#number(b));
  }

  #number(policy: CompiledPolicy): number {
    return this.#order.get(policy) ?? 0;
  }
}
