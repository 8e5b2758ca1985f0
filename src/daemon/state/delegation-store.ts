/** Delegations in state.db, ephemeral ones in memory. Reads come from memory, as those of agents do. */
import type { DatabaseSync } from 'node:sqlite';
import { inTransaction } from '../../base/sqlite.ts';
import type { AgentKey, NameClaim } from '../../signing/agent.ts';
import type {
  Delegation,
  DelegationEnd,
  DelegationStore,
  DelegationTerms,
  DoomedKey,
  StatusReference,
  SubAgent,
} from '../../signing/delegation.ts';
import type { SqliteAgentStore } from './agent-store.ts';
import { integerColumn, jsonColumn, textColumn, type Row } from './columns.ts';
import { EphemeralNumbers } from './ephemeral-numbers.ts';

export class SqliteDelegationStore implements DelegationStore {
  readonly #database: DatabaseSync;
  readonly #agents: SqliteAgentStore;
  readonly #numbers: EphemeralNumbers;
  readonly #byAgent = new Map<string, Delegation>();
  readonly #children = new Map<string, Set<string>>();
  /** Agents that are being made: what is written of them is not left over yet. */
  readonly #preparing = new Set<string>();

  constructor(database: DatabaseSync, agents: SqliteAgentStore) {
    this.#database = database;
    this.#agents = agents;
    this.#numbers = new EphemeralNumbers(database);
    for (const row of database.prepare('SELECT * FROM delegations ORDER BY rowid').all()) {
      this.#remember(readDelegation(row));
    }
  }

  list(): readonly Delegation[] {
    return [...this.#byAgent.values()];
  }

  find(agentId: string): Delegation | undefined {
    return this.#byAgent.get(agentId);
  }

  childrenOf(parentId: string): readonly Delegation[] {
    return [...(this.#children.get(parentId) ?? [])].flatMap((id) => this.#byAgent.get(id) ?? []);
  }

  descendantsOf(agentId: string): readonly Delegation[] {
    const found: Delegation[] = [];
    for (let level = this.childrenOf(agentId); level.length > 0;) {
      found.push(...level);
      level = level.flatMap((child) => this.childrenOf(child.agentId));
    }
    return found;
  }

  prepare(claims: readonly NameClaim[], accountsOf: readonly string[]): void {
    this.#agents.reserveNames(claims);
    for (const { id } of claims) this.#preparing.add(id);
    const note = this.#database.prepare(
      'INSERT INTO delegation_ends (agent_id, release_at_ms, status, closed) VALUES (?, 0, NULL, 0)',
    );
    inTransaction(this.#database, () => {
      for (const id of accountsOf) note.run(id);
    });
    for (const id of accountsOf) this.#preparing.add(id);
  }

  abandon(agentIds: readonly string[]): void {
    for (const id of agentIds) {
      this.#agents.releaseName(id);
      this.#preparing.delete(id);
    }
  }

  add(made: readonly SubAgent[]): void {
    const agents = made.map(({ agent }) => agent);
    const begun = this.#database.prepare('DELETE FROM delegation_ends WHERE agent_id = ?');
    this.#agents.addAll(agents, () => {
      for (const { agent, delegation } of made) {
        if (!delegation.ephemeral) {
          this.#insert(delegation);
          begun.run(agent.id);
        } else if (agent.backend === 'pkcs11') {
          // A crash ends an ephemeral sub-agent, but not the object in its token.
          this.#insertEnd([], 0, [agent]);
        }
      }
    });
    for (const { delegation } of made) {
      this.#preparing.delete(delegation.agentId);
      this.#remember(delegation);
    }
  }

  renew(agentId: string, chain: readonly string[], terms?: DelegationTerms): void {
    const delegation = this.#byAgent.get(agentId);
    if (delegation === undefined) return;
    if (!delegation.ephemeral) {
      inTransaction(this.#database, () => {
        this.#writeChain(agentId, chain, delegation.status);
        if (terms !== undefined) this.#writeTerms(agentId, terms);
      });
    }
    this.#remember({ ...delegation, chain, terms: terms ?? delegation.terms });
  }

  rekey(agentId: string, key: AgentKey, chain: readonly string[], status: StatusReference | undefined): void {
    const delegation = this.#byAgent.get(agentId);
    this.#agents.replaceKeyWith(agentId, key, () => {
      if (delegation?.ephemeral === false) this.#writeChain(agentId, chain, status);
    });
    if (delegation !== undefined) this.#remember({ ...delegation, chain, status });
  }

  end(agentIds: readonly string[], releaseAtMs: number): void {
    const remove = this.#database.prepare('DELETE FROM delegations WHERE agent_id = ?');
    const agents = agentIds.flatMap((id) => this.#agents.find(id) ?? []);
    const ended = agents.flatMap(({ id }) => this.#byAgent.get(id) ?? []);
    const written = agents.filter(({ ephemeral, backend }) => ephemeral !== true || backend === 'pkcs11');
    this.#agents.retireAll(
      agents.map(({ id }) => id),
      () => {
        this.#insertEnd(ended, releaseAtMs, written);
        for (const { agentId } of ended) remove.run(agentId);
      },
    );
    for (const delegation of ended) this.#forget(delegation);
    for (const { id } of agents) this.#numbers.forget(id);
  }

  revokeLater(kid: string, status: StatusReference): void {
    this.#database
      .prepare(
        'INSERT OR REPLACE INTO delegation_ends (agent_id, release_at_ms, status, closed) VALUES (?, 0, ?, 1)',
      )
      .run(kid, JSON.stringify(status));
  }

  doomedKeys(): readonly DoomedKey[] {
    const live = new Set(this.#agents.list().map(({ keyId }) => keyId));
    return this.#database
      .prepare('SELECT * FROM doomed_keys')
      .all()
      .map(readDoomed)
      .filter(({ keyId }) => !live.has(keyId));
  }

  destroyed(keyId: string): void {
    this.#database.prepare('DELETE FROM doomed_keys WHERE key_id = ?').run(keyId);
  }

  ends(): readonly DelegationEnd[] {
    return this.#database
      .prepare('SELECT * FROM delegation_ends')
      .all()
      .map(readEnd)
      .filter(({ agentId }) => !this.#byAgent.has(agentId) && !this.#preparing.has(agentId));
  }

  closed(agentId: string): void {
    inTransaction(this.#database, () => {
      this.#database.prepare('UPDATE delegation_ends SET closed = 1 WHERE agent_id = ?').run(agentId);
      this.#removeDone(agentId);
    });
  }

  published(agentId: string): void {
    inTransaction(this.#database, () => {
      this.#database.prepare('UPDATE delegation_ends SET status = NULL WHERE agent_id = ?').run(agentId);
      this.#removeDone(agentId);
    });
  }

  nextEphemeral(parentId: string): number {
    return this.#numbers.next(parentId);
  }

  #removeDone(agentId: string): void {
    this.#database
      .prepare('DELETE FROM delegation_ends WHERE agent_id = ? AND closed = 1 AND status IS NULL')
      .run(agentId);
  }

  #insert({ agentId, parentId, terms, chain, status, allocated, createdAtMs, endsAtMs }: Delegation): void {
    this.#database
      .prepare(
        `INSERT INTO delegations (agent_id, parent_id, terms, chain, status, allocated, created_at_ms, ends_at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        agentId,
        parentId,
        JSON.stringify(terms),
        JSON.stringify(chain),
        jsonOrNull(status),
        allocated ? 1 : 0,
        createdAtMs,
        endsAtMs,
      );
  }

  #insertEnd(
    ended: readonly Delegation[],
    releaseAtMs: number,
    keys: readonly { readonly keyId: string; readonly backend: string }[],
  ): void {
    const end = this.#database.prepare(
      'INSERT OR REPLACE INTO delegation_ends (agent_id, release_at_ms, status, closed) VALUES (?, ?, ?, ?)',
    );
    const doom = this.#database.prepare('INSERT OR IGNORE INTO doomed_keys (key_id, backend) VALUES (?, ?)');
    for (const { agentId, status, allocated } of ended) {
      if (allocated || status !== undefined) {
        end.run(agentId, releaseAtMs, jsonOrNull(status), allocated ? 0 : 1);
      }
    }
    for (const { keyId, backend } of keys) doom.run(keyId, backend);
  }

  #writeChain(agentId: string, chain: readonly string[], status: StatusReference | undefined): void {
    this.#database
      .prepare('UPDATE delegations SET chain = ?, status = ? WHERE agent_id = ?')
      .run(JSON.stringify(chain), jsonOrNull(status), agentId);
  }

  #writeTerms(agentId: string, terms: DelegationTerms): void {
    this.#database
      .prepare('UPDATE delegations SET terms = ? WHERE agent_id = ?')
      .run(JSON.stringify(terms), agentId);
  }

  #remember(delegation: Delegation): void {
    const { agentId, parentId } = delegation;
    this.#byAgent.set(agentId, Object.freeze(delegation));
    const siblings = this.#children.get(parentId) ?? new Set();
    this.#children.set(parentId, siblings.add(agentId));
  }

  #forget({ agentId, parentId }: Delegation): void {
    this.#byAgent.delete(agentId);
    const siblings = this.#children.get(parentId);
    siblings?.delete(agentId);
    if (siblings?.size === 0) this.#children.delete(parentId);
  }
}

function jsonOrNull(status: StatusReference | undefined): string | null {
  return status === undefined ? null : JSON.stringify(status);
}

function readDelegation(row: Row): Delegation {
  return {
    agentId: textColumn(row, 'agent_id'),
    parentId: textColumn(row, 'parent_id'),
    terms: jsonColumn(row, 'terms') as DelegationTerms,
    chain: jsonColumn(row, 'chain') as readonly string[],
    status: readStatus(row),
    allocated: integerColumn(row, 'allocated') === 1,
    createdAtMs: integerColumn(row, 'created_at_ms'),
    endsAtMs: integerColumn(row, 'ends_at_ms'),
    ephemeral: false,
  };
}

function readEnd(row: Row): DelegationEnd {
  return {
    agentId: textColumn(row, 'agent_id'),
    releaseAtMs: integerColumn(row, 'release_at_ms'),
    status: readStatus(row),
    closed: integerColumn(row, 'closed') === 1,
  };
}

function readStatus(row: Row): StatusReference | undefined {
  return row['status'] === null ? undefined : (jsonColumn(row, 'status') as StatusReference);
}

function readDoomed(row: Row): DoomedKey {
  const backend = textColumn(row, 'backend');
  return { keyId: textColumn(row, 'key_id'), backend: backend === 'tpm' ? 'tpm' : 'pkcs11' };
}
