/** What was issued, append-only, and which agent holds which name for good (S6, S14). */
import type { CommitGroup } from '../../base/commit-group.ts';
import { canonicalJson } from '../../wire/jcs.ts';
import { KeydError } from '../../wire/problem.ts';
import { integerOf, jsonOf, textOf } from './rows.ts';

/** One issuance. Hashes are SHA-256, base64url; times Unix seconds. */
export interface IssuanceEntry {
  readonly issuedAtSeconds: number;
  readonly expiresAtSeconds: number;
  readonly akId: string;
  readonly ekHash: string;
  readonly hostLabel: string;
  readonly principal: string;
  readonly agentId: string;
  readonly name: string;
  readonly spiffeId: string;
  readonly keyThumbprint: string;
  readonly assurance: string;
  readonly developmentPolicy?: string;
  /** Over M7 as it was sent: the Evidence. */
  readonly evidenceSha256: string;
  readonly earSha256: string;
  readonly x509Sha256?: string;
  readonly witJti?: string;
  readonly agentTokenJti?: string;
  /** `jti` of the root grant that the agent acts under, and hash of the DT₀ that was issued. */
  readonly grantId?: string;
  readonly grantSha256?: string;
  /** Of a sub-agent: the key that delegated to it. */
  readonly parentThumbprint?: string;
}

/** An agent of a host as its first credentials bind it. */
export type BoundAgent = Pick<IssuanceEntry, 'hostLabel' | 'agentId' | 'name' | 'keyThumbprint'>;

export interface LoggedIssuance {
  readonly sequence: number;
  readonly entry: unknown;
}

const MAX_NAMES_PER_HOST = 10_000;
/** Agents make sub-agents by themselves: they use up no name of an agent that a person makes. */
const MAX_SUB_AGENT_NAMES_PER_HOST = 100_000;

export class IssuanceLog {
  readonly #state: CommitGroup;

  constructor(state: CommitGroup) {
    this.#state = state;
  }

  /**
   * Binds a name and a key to an agent of this host, both or neither, for ever. A CSR for a token's key has no nonce,
   * so that a copy of another host's would otherwise get that host's key a second name.
   * @throws KeydError `name_in_use` where the name is another agent's or the agent has another name; `conflict` where
   *   the key is another agent's
   */
  bindAgent({ hostLabel, agentId, name, keyThumbprint }: BoundAgent, nowSeconds: number): Promise<void> {
    return this.#state.write(() => {
      this.#bindName(hostLabel, name, agentId, nowSeconds);
      this.#bindKey(keyThumbprint, hostLabel, agentId);
    });
  }

  /** Whether credentials were ever issued for this key. */
  isAgentKey(keyThumbprint: string): Promise<boolean> {
    return this.#state.read(() => this.#keyHolder(keyThumbprint) !== undefined);
  }

  /** Appends an entry, durable before what it records is given out, and returns its sequence number. */
  append(entry: IssuanceEntry): Promise<number> {
    return this.#state.write(() => {
      const { lastInsertRowid } = this.#state
        .statement(
          `INSERT INTO issuances (issued_at, ak_id, host_label, agent_id, key_thumbprint, expires_at, entry)
           VALUES (?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          entry.issuedAtSeconds,
          entry.akId,
          entry.hostLabel,
          entry.agentId,
          entry.keyThumbprint,
          entry.expiresAtSeconds,
          canonicalJson(entry),
        );
      return Number(lastInsertRowid);
    });
  }

  /** Issuances to a host at `sinceSeconds` or later. */
  countSince(hostLabel: string, sinceSeconds: number): Promise<number> {
    return this.#state.read(() => {
      const row = this.#state
        .statement('SELECT count(*) AS n FROM issuances WHERE host_label = ? AND issued_at >= ?')
        .get(hostLabel, sinceSeconds);
      return integerOf(row ?? {}, 'n');
    });
  }

  /** Entries from `from` on, in order. */
  read(from: number, limit: number): Promise<readonly LoggedIssuance[]> {
    return this.#state.read(() =>
      this.#state
        .statement('SELECT sequence, entry FROM issuances WHERE sequence >= ? ORDER BY sequence LIMIT ?')
        .all(from, limit)
        .map((row) => ({ sequence: integerOf(row, 'sequence'), entry: jsonOf(row, 'entry') })),
    );
  }

  #bindName(hostLabel: string, name: string, agentId: string, nowSeconds: number): void {
    const row = this.#state
      .statement('SELECT name, agent_id FROM agent_names WHERE host_label = ? AND (name = ? OR agent_id = ?)')
      .get(hostLabel, name, agentId);
    if (row === undefined) {
      this.#addName(hostLabel, name, agentId, nowSeconds);
    } else if (textOf(row, 'name') !== name || textOf(row, 'agent_id') !== agentId) {
      throw new KeydError(
        'name_in_use',
        'the name belongs or belonged to another agent of this host, or this agent has another name; names are never reused',
      );
    }
  }

  #bindKey(keyThumbprint: string, hostLabel: string, agentId: string): void {
    this.#state
      .statement(
        'INSERT INTO agent_keys (key_thumbprint, host_label, agent_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
      )
      .run(keyThumbprint, hostLabel, agentId);
    const holder = this.#keyHolder(keyThumbprint);
    if (holder?.hostLabel !== hostLabel || holder.agentId !== agentId) {
      throw new KeydError('conflict', 'this key is or was that of another agent; make a key of its own');
    }
  }

  #keyHolder(keyThumbprint: string): { readonly hostLabel: string; readonly agentId: string } | undefined {
    const row = this.#state
      .statement('SELECT host_label, agent_id FROM agent_keys WHERE key_thumbprint = ?')
      .get(keyThumbprint);
    return row === undefined
      ? undefined
      : { hostLabel: textOf(row, 'host_label'), agentId: textOf(row, 'agent_id') };
  }

  #addName(hostLabel: string, name: string, agentId: string, nowSeconds: number): void {
    const isSubAgent = name.includes('+');
    const most = isSubAgent ? MAX_SUB_AGENT_NAMES_PER_HOST : MAX_NAMES_PER_HOST;
    const row = this.#state
      .statement("SELECT count(*) AS n FROM agent_names WHERE host_label = ? AND (instr(name, '+') > 0) = ?")
      .get(hostLabel, isSubAgent ? 1 : 0);
    if (integerOf(row ?? {}, 'n') >= most) {
      throw new KeydError(
        'name_not_permitted',
        `this host has used its ${most} ${isSubAgent ? 'sub-agent' : 'agent'} names`,
      );
    }
    this.#state
      .statement('INSERT INTO agent_names (host_label, name, agent_id, bound_at) VALUES (?, ?, ?, ?)')
      .run(hostLabel, name, agentId, nowSeconds);
  }
}
