/** Agents in state.db. Reads come from memory: the database has one writer, this process. */
import type { DatabaseSync } from 'node:sqlite';
import type { BackendKind } from '../../backend/backend.ts';
import { inTransaction } from '../../base/sqlite.ts';
import type { Agent, AgentKey, AgentStore, NameClaim } from '../../signing/agent.ts';
import { isAlgorithm } from '../../wire/algorithms.ts';
import { parsePublicJwk } from '../../wire/jwk.ts';
import { KeydError } from '../../wire/problem.ts';
import { integerColumn, jsonColumn, textColumn, type Row } from './columns.ts';

export class SqliteAgentStore implements AgentStore {
  readonly #database: DatabaseSync;
  readonly #now: () => number;
  readonly #byId = new Map<string, Agent>();
  readonly #byName = new Map<string, Agent>();

  constructor(database: DatabaseSync, now: () => number = Date.now) {
    this.#database = database;
    this.#now = now;
    // One row at a time: ten thousand rows at once would stay in the heap long after they are read.
    const live = database.prepare("SELECT * FROM agents WHERE state = 'live' ORDER BY rowid");
    for (const row of live.iterate()) this.#remember(readAgent(row));
  }

  list(): readonly Agent[] {
    return [...this.#byId.values()];
  }

  find(idOrName: string): Agent | undefined {
    return this.#byId.get(idOrName) ?? this.#byName.get(idOrName);
  }

  reserveName(id: string, name: string, ownerUid: number): void {
    this.reserveNames([{ id, name, ownerUid }]);
  }

  /** All names or none. @throws KeydError `name_in_use` */
  reserveNames(claims: readonly NameClaim[]): void {
    const used = this.#database.prepare('SELECT state FROM agents WHERE name = ?');
    const reserve = this.#database.prepare(
      "INSERT INTO agents (id, name, owner_uid, state) VALUES (?, ?, ?, 'reserved')",
    );
    inTransaction(this.#database, () => {
      for (const { id, name, ownerUid } of claims) {
        const taken = used.get(name);
        if (taken !== undefined || this.#byName.has(name)) throw nameInUse(name, taken);
        reserve.run(id, name, ownerUid);
      }
    });
  }

  releaseName(id: string): void {
    this.#database.prepare("DELETE FROM agents WHERE id = ? AND state = 'reserved'").run(id);
  }

  /** Gives back names whose agents were never made because the daemon died meanwhile; returns them. */
  releaseInterrupted(): readonly string[] {
    return this.#database
      .prepare("DELETE FROM agents WHERE state = 'reserved' RETURNING name")
      .all()
      .map((row) => textColumn(row, 'name'));
  }

  add(agent: Agent): void {
    this.addAll([agent], () => undefined);
  }

  /** Agents that begin together with what `also` writes; ephemeral ones in memory only. */
  addAll(agents: readonly Agent[], also: () => void): void {
    inTransaction(this.#database, () => {
      for (const agent of agents) if (agent.ephemeral !== true) this.#insert(agent);
      also();
    });
    for (const agent of agents) this.#remember(agent);
  }

  replaceKey(id: string, key: AgentKey): void {
    this.replaceKeyWith(id, key, () => undefined);
  }

  /** A new key, together with what `also` writes. */
  replaceKeyWith(id: string, key: AgentKey, also: () => void): void {
    const agent = this.#require(id);
    inTransaction(this.#database, () => {
      if (agent.ephemeral !== true) this.#update(id, key);
      also();
    });
    this.#remember({ ...agent, ...key });
  }

  retire(id: string): void {
    this.retireAll([id], () => undefined);
  }

  /** Agents that end together with what `also` writes. */
  retireAll(ids: readonly string[], also: () => void): void {
    const agents = ids.map((id) => this.#require(id));
    const retire = this.#database.prepare(
      "UPDATE agents SET state = 'retired', retired_at_ms = ? WHERE id = ? AND state = 'live'",
    );
    inTransaction(this.#database, () => {
      for (const { id, ephemeral } of agents) {
        if (ephemeral !== true) requireOne(retire.run(this.#now(), id).changes, id);
      }
      also();
    });
    for (const { id, name } of agents) {
      this.#byId.delete(id);
      this.#byName.delete(name);
    }
  }

  #insert(agent: Agent): void {
    const { changes } = this.#database
      .prepare(
        `UPDATE agents SET state = 'live', owner_uid = ?, backend = ?, algorithm = ?, key_id = ?, public_jwk = ?,
         kid = ?, created_at_ms = ? WHERE id = ? AND name = ? AND state = 'reserved'`,
      )
      .run(
        agent.ownerUid,
        agent.backend,
        agent.algorithm,
        agent.keyId,
        JSON.stringify(agent.publicJwk),
        agent.kid,
        agent.createdAtMs,
        agent.id,
        agent.name,
      );
    requireOne(changes, agent.id);
  }

  #update(id: string, key: AgentKey): void {
    const { changes } = this.#database
      .prepare(
        "UPDATE agents SET key_id = ?, public_jwk = ?, kid = ?, algorithm = ? WHERE id = ? AND state = 'live'",
      )
      .run(key.keyId, JSON.stringify(key.publicJwk), key.kid, key.algorithm, id);
    requireOne(changes, id);
  }

  #require(id: string): Agent {
    const agent = this.#byId.get(id);
    if (agent === undefined) throw new KeydError('agent_not_found', `there is no agent ${id}`);
    return agent;
  }

  #remember(agent: Agent): void {
    this.#byId.set(agent.id, Object.freeze(agent));
    this.#byName.set(agent.name, agent);
  }
}

function nameInUse(name: string, taken: Row | undefined): KeydError {
  return new KeydError(
    'name_in_use',
    taken !== undefined && textColumn(taken, 'state') === 'retired'
      ? `the name ${name} was used before; names are never given twice`
      : `the name ${name} is in use`,
  );
}

function requireOne(changes: number | bigint, id: string): void {
  if (Number(changes) !== 1) {
    throw new KeydError('conflict', `agent ${id} is not in the state that this change begins from`);
  }
}

function readAgent(row: Row): Agent {
  const algorithm = textColumn(row, 'algorithm');
  if (!isAlgorithm(algorithm)) throw new KeydError('internal', `state.db names the algorithm ${algorithm}`);
  return {
    id: textColumn(row, 'id'),
    name: textColumn(row, 'name'),
    ownerUid: integerColumn(row, 'owner_uid'),
    backend: readBackend(textColumn(row, 'backend')),
    algorithm,
    keyId: textColumn(row, 'key_id'),
    publicJwk: parsePublicJwk(jsonColumn(row, 'public_jwk'), 'public_jwk in state.db'),
    kid: textColumn(row, 'kid'),
    createdAtMs: integerColumn(row, 'created_at_ms'),
  };
}

function readBackend(text: string): BackendKind {
  if (text === 'tpm' || text === 'pkcs11') return text;
  throw new KeydError('internal', `state.db names the backend ${text}`);
}
