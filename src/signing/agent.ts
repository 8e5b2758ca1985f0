/** Agents as the daemon keeps them, and where they are kept. */
import type { BackendKind } from '../backend/backend.ts';
import type { AgentFacts } from '../policy/proposal.ts';
import type { Algorithm } from '../wire/algorithms.ts';
import type { PublicJwk } from '../wire/jwk.ts';

export interface Agent {
  /** UUID; never changes. */
  readonly id: string;
  readonly name: string;
  readonly ownerUid: number;
  readonly backend: BackendKind;
  readonly algorithm: Algorithm;
  /** The key in use: its UUID in the backend, its public half, its RFC 7638 thumbprint. */
  readonly keyId: string;
  readonly publicJwk: PublicJwk;
  readonly kid: string;
  readonly createdAtMs: number;
  /** A sub-agent that ends with the connection that made it; kept in memory only. */
  readonly ephemeral?: true;
}

export type AgentKey = Pick<Agent, 'keyId' | 'publicJwk' | 'kid' | 'algorithm'>;

/** A name that is claimed before hardware makes a key. */
export interface NameClaim {
  readonly id: string;
  readonly name: string;
  readonly ownerUid: number;
}

/** What policy and audit read of an agent. */
export function agentFacts({ id, name, ownerUid, backend, algorithm, keyId, kid }: Agent): AgentFacts {
  return { id, name, ownerUid, backend, algorithm, keyId, kid };
}

/**
 * Durable agents. A resolved write is on disk. Names are never reused (S6): a retired agent leaves a
 * tombstone that `reserveName` still sees.
 */
export interface AgentStore {
  list(): readonly Agent[];
  /** By id or by name. */
  find(idOrName: string): Agent | undefined;
  /** Claims `name` for `id` for ever, before hardware makes a key. @throws KeydError `name_in_use` */
  reserveName(id: string, name: string, ownerUid: number): void;
  /** Gives back a reservation whose key was never made. */
  releaseName(id: string): void;
  add(agent: Agent): void;
  /** Replaces the key; the old one is destroyed afterwards. */
  replaceKey(id: string, key: AgentKey): void;
  /** Removes the agent, leaves the tombstone. */
  retire(id: string): void;
}
