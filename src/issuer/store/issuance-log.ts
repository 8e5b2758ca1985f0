/** What was issued, append-only, and which agent holds which name for good (S6, S14). */
import type { DatabaseSync } from 'node:sqlite';
import { inTransaction, prepared } from '../../base/sqlite.ts';
import { canonicalJson } from '../../wire/jcs.ts';
import { KeydError } from '../../wire/problem.ts';
import { integerOf, jsonOf, settled, textOf } from './rows.ts';

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

export interface LoggedIssuance {
  readonly sequence: number;
  readonly entry: unknown;
}

const MAX_NAMES_PER_HOST = 10_000;
/** Agents make sub-agents by themselves: they use up no name of an agent that a person makes. */
const MAX_SUB_AGENT_NAMES_PER_HOST = 100_000;

export class IssuanceLog {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /**
   * Binds a name to an agent of this host, for ever.
   * @throws KeydError `name_in_use` where the name is another agent's or the agent has another name
   */
  bindName(hostLabel: string, name: string, agentId: string, nowSeconds: number): Promise<void> {
    return settled(() => {
      inTransaction(this.#database, () => {
        const row = prepared(
          this.#database,
          'SELECT name, agent_id FROM agent_names WHERE host_label = ? AND (name = ? OR agent_id = ?)',
        ).get(hostLabel, name, agentId);
        if (row === undefined) {
          this.#addName(hostLabel, name, agentId, nowSeconds);
        } else if (textOf(row, 'name') !== name || textOf(row, 'agent_id') !== agentId) {
          throw new KeydError(
            'name_in_use',
            'the name belongs or belonged to another agent of this host, or this agent has another name; names are never reused',
          );
        }
      });
    });
  }

  /**
   * Binds a key to an agent, for ever. A CSR for a token's key has no nonce, so that a copy of another host's
   * would otherwise get that host's key a second name.
   * @throws KeydError `conflict` where the key is another agent's
   */
  bindKey(keyThumbprint: string, hostLabel: string, agentId: string): Promise<void> {
    return settled(() => {
      prepared(
        this.#database,
        'INSERT INTO agent_keys (key_thumbprint, host_label, agent_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
      ).run(keyThumbprint, hostLabel, agentId);
      const holder = this.#keyHolder(keyThumbprint);
      if (holder?.hostLabel !== hostLabel || holder.agentId !== agentId) {
        throw new KeydError('conflict', 'this key is or was that of another agent; make a key of its own');
      }
    });
  }

  /** Whether credentials were ever issued for this key. */
  isAgentKey(keyThumbprint: string): Promise<boolean> {
    return settled(() => this.#keyHolder(keyThumbprint) !== undefined);
  }

  /** Appends an entry, durable before what it records is given out, and returns its sequence number. */
  append(entry: IssuanceEntry): Promise<number> {
    return settled(() => {
      const { lastInsertRowid } = prepared(
        this.#database,
        `INSERT INTO issuances (issued_at, ak_id, host_label, agent_id, key_thumbprint, expires_at, entry)
           VALUES (?, ?, ?, ?, ?, ?, ?)`,
      ).run(
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
    return settled(() => {
      const row = prepared(
        this.#database,
        'SELECT count(*) AS n FROM issuances WHERE host_label = ? AND issued_at >= ?',
      ).get(hostLabel, sinceSeconds);
      return integerOf(row ?? {}, 'n');
    });
  }

  /** Entries from `from` on, in order. */
  read(from: number, limit: number): Promise<readonly LoggedIssuance[]> {
    return settled(() =>
      prepared(
        this.#database,
        'SELECT sequence, entry FROM issuances WHERE sequence >= ? ORDER BY sequence LIMIT ?',
      )
        .all(from, limit)
        .map((row) => ({ sequence: integerOf(row, 'sequence'), entry: jsonOf(row, 'entry') })),
    );
  }

  #keyHolder(keyThumbprint: string): { readonly hostLabel: string; readonly agentId: string } | undefined {
    const row = prepared(
      this.#database,
      'SELECT host_label, agent_id FROM agent_keys WHERE key_thumbprint = ?',
    ).get(keyThumbprint);
    return row === undefined
      ? undefined
      : { hostLabel: textOf(row, 'host_label'), agentId: textOf(row, 'agent_id') };
  }

  #addName(hostLabel: string, name: string, agentId: string, nowSeconds: number): void {
    const isSubAgent = name.includes('+');
    const most = isSubAgent ? MAX_SUB_AGENT_NAMES_PER_HOST : MAX_NAMES_PER_HOST;
    const row = prepared(
      this.#database,
      "SELECT count(*) AS n FROM agent_names WHERE host_label = ? AND (instr(name, '+') > 0) = ?",
    ).get(hostLabel, isSubAgent ? 1 : 0);
    if (integerOf(row ?? {}, 'n') >= most) {
      throw new KeydError(
        'name_not_permitted',
        `this host has used its ${most} ${isSubAgent ? 'sub-agent' : 'agent'} names`,
      );
    }
    prepared(
      this.#database,
      'INSERT INTO agent_names (host_label, name, agent_id, bound_at) VALUES (?, ?, ?, ?)',
    ).run(hostLabel, name, agentId, nowSeconds);
  }
}
