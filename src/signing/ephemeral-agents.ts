/** Sub-agents that end with the connection that made them. */
import type { Agent } from './agent.ts';

export class EphemeralAgents {
  readonly #end: (agent: Agent) => void;
  /** By agent id: the agents of the same connection, itself among them. */
  readonly #siblings = new Map<string, Map<string, Agent>>();
  readonly #byConnection = new WeakMap<AbortSignal, Map<string, Agent>>();

  /** @param end must not throw */
  constructor(end: (agent: Agent) => void) {
    this.#end = end;
  }

  /** How many are alive. */
  get size(): number {
    return this.#siblings.size;
  }

  /** They end when `connection` is aborted; at once where it is already. */
  bind(connection: AbortSignal, agents: readonly Agent[]): void {
    if (agents.length === 0) return;
    const bound = this.#byConnection.get(connection) ?? this.#watch(connection);
    for (const agent of agents) {
      bound.set(agent.id, agent);
      this.#siblings.set(agent.id, bound);
    }
    if (connection.aborted) this.#endAll(bound);
  }

  /** It has ended otherwise. */
  ended(agentId: string): void {
    this.#siblings.get(agentId)?.delete(agentId);
    this.#siblings.delete(agentId);
  }

  // One listener for a connection, however many it makes.
  #watch(connection: AbortSignal): Map<string, Agent> {
    const bound = new Map<string, Agent>();
    this.#byConnection.set(connection, bound);
    connection.addEventListener(
      'abort',
      () => {
        this.#endAll(bound);
      },
      { once: true },
    );
    return bound;
  }

  #endAll(bound: Map<string, Agent>): void {
    for (const agent of [...bound.values()]) {
      this.ended(agent.id);
      this.#end(agent);
    }
  }
}
