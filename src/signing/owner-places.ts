import { KeydError } from '../wire/problem.ts';
import type { AgentStore } from './agent.ts';

/** How many live agents one uid may own (S20). Agents that are being made count like those that are there. */
export class OwnerPlaces {
  readonly #agents: Pick<AgentStore, 'list'>;
  readonly #limit: number;
  /** Agents under way, by owner. */
  readonly #making = new Map<number, number>();

  constructor(agents: Pick<AgentStore, 'list'>, limit: number) {
    this.#agents = agents;
    this.#limit = limit;
  }

  /** Runs `make` while `count` more agents of this owner have a place. @throws KeydError `too_many_requests` */
  async during<T>(ownerUid: number, count: number, make: () => Promise<T>): Promise<T> {
    const making = this.#making.get(ownerUid) ?? 0;
    const owned = this.#agents.list().filter((agent) => agent.ownerUid === ownerUid).length + making;
    if (owned + count > this.#limit) {
      throw new KeydError('too_many_requests', `uid ${ownerUid} owns ${owned} agents and may own no more`);
    }
    this.#making.set(ownerUid, making + count);
    try {
      return await make();
    } finally {
      const left = (this.#making.get(ownerUid) ?? count) - count;
      if (left === 0) this.#making.delete(ownerUid);
      else this.#making.set(ownerUid, left);
    }
  }
}
