/** Enrolled hosts, one AK per TPM, and hosts that asked without being approved. */
import type { CommitGroup } from '../../base/commit-group.ts';
import { jwkThumbprint } from '../../wire/jwk.ts';
import type { BootState } from '../verifier/boot-state.ts';
import {
  parseBoot,
  serializeBoot,
  toEnrolledHost,
  toUnapprovedHost,
  type EnrolledHost,
  type UnapprovedHost,
} from './host-records.ts';
import { textOf } from './rows.ts';

// An EK certificate is public, so anyone can ask in a host's name: the list is a hint, and bounded.
const MAX_UNAPPROVED = 256;
const MAX_UNAPPROVED_PER_NETWORK = 8;
const UNAPPROVED_KEPT_SECONDS = 7 * 86_400;

export class HostStore {
  readonly #state: CommitGroup;

  constructor(state: CommitGroup) {
    this.#state = state;
  }

  byAk(akId: string): Promise<EnrolledHost | undefined> {
    return this.#one('ak_id', akId);
  }

  /** The host whose key signs its calls. */
  byHostKey(thumbprint: string): Promise<EnrolledHost | undefined> {
    return this.#one('host_key_thumbprint', thumbprint);
  }

  /** Whether it is a key that signs a host's calls. */
  isHostKey(thumbprint: string): Promise<boolean> {
    return this.#state.read(
      () =>
        this.#state.statement('SELECT 1 FROM hosts WHERE host_key_thumbprint = ?').get(thumbprint) !==
        undefined,
    );
  }

  byEk(ekHash: string): Promise<EnrolledHost | undefined> {
    return this.#one('ek_sha256', ekHash);
  }

  list(): Promise<readonly EnrolledHost[]> {
    return this.#state.read(() =>
      this.#state.statement('SELECT * FROM hosts ORDER BY enrolled_at').all().map(toEnrolledHost),
    );
  }

  /** Enrols: whatever this TPM had enrolled before (another AK, other host keys) is replaced. */
  enrol(host: EnrolledHost): Promise<void> {
    return this.#state.write(() => {
      this.#state.statement('DELETE FROM hosts WHERE ek_sha256 = ? OR ak_id = ?').run(host.ekHash, host.akId);
      this.#state.statement('DELETE FROM unapproved_hosts WHERE ek_sha256 = ?').run(host.ekHash);
      this.#state
        .statement(
          `INSERT INTO hosts (ak_id, ek_sha256, ak_public, host_key, host_key_thumbprint, audit_key, endorsement,
               boot, assurance, development_policy, ear, enrolled_at, attested_at, standing_ends_at, nv_public)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          host.akId,
          host.ekHash,
          host.akPublic,
          JSON.stringify(host.hostKey),
          jwkThumbprint(host.hostKey),
          JSON.stringify(host.auditKey),
          JSON.stringify(host.endorsement),
          serializeBoot(host.boot),
          host.assurance,
          host.developmentPolicy ?? null,
          host.ear,
          host.enrolledAtSeconds,
          host.attestedAtSeconds,
          host.standingEndsAtSeconds,
          host.nvPublic ?? null,
        );
    });
  }

  /** A new standing after re-attestation. False where the host has been enrolled anew meanwhile. */
  renewStanding(
    host: Pick<
      EnrolledHost,
      | 'akId'
      | 'boot'
      | 'assurance'
      | 'developmentPolicy'
      | 'ear'
      | 'attestedAtSeconds'
      | 'standingEndsAtSeconds'
    >,
    hostKeyThumbprint: string,
  ): Promise<boolean> {
    return this.#state.write(() => {
      const { changes } = this.#state
        .statement(
          `UPDATE hosts SET boot = ?, assurance = ?, development_policy = ?, ear = ?, attested_at = ?,
             standing_ends_at = ? WHERE ak_id = ? AND host_key_thumbprint = ?`,
        )
        .run(
          serializeBoot(host.boot),
          host.assurance,
          host.developmentPolicy ?? null,
          host.ear,
          host.attestedAtSeconds,
          host.standingEndsAtSeconds,
          host.akId,
          hostKeyThumbprint,
        );
      return changes === 1;
    });
  }

  /** Remembers the state of an appraised TPM; of two that are written at once the later one stays. */
  rememberBoot(akId: string, boot: BootState): Promise<void> {
    return this.#state.write(() => {
      const row = this.#state.statement('SELECT boot FROM hosts WHERE ak_id = ?').get(akId);
      if (row === undefined || !isLater(boot, parseBoot(textOf(row, 'boot')))) return;
      this.#state.statement('UPDATE hosts SET boot = ? WHERE ak_id = ?').run(serializeBoot(boot), akId);
    });
  }

  /** Ends the standing at once: the next issuance needs a successful re-attestation. */
  endStanding(akId: string, nowSeconds: number): Promise<void> {
    return this.#state.write(() => {
      this.#state
        .statement('UPDATE hosts SET standing_ends_at = min(standing_ends_at, ?) WHERE ak_id = ?')
        .run(nowSeconds, akId);
    });
  }

  /** Notes a host that is not in hosts.toml, for `hosts list`; where the list is full, nothing is noted. */
  noteUnapproved(ekHash: string, network: string, tpm: string, nowSeconds: number): Promise<void> {
    return this.#state.write(() => {
      this.#state
        .statement('DELETE FROM unapproved_hosts WHERE last_seen_at < ?')
        .run(nowSeconds - UNAPPROVED_KEPT_SECONDS);
      this.#state
        .statement(
          `INSERT INTO unapproved_hosts (ek_sha256, network, tpm, first_seen_at, last_seen_at)
             SELECT ?1, ?2, ?3, ?4, ?4
             WHERE EXISTS (SELECT 1 FROM unapproved_hosts WHERE ek_sha256 = ?1)
                OR ((SELECT count(*) FROM unapproved_hosts) < ?5
                AND (SELECT count(*) FROM unapproved_hosts WHERE network = ?2) < ?6)
             ON CONFLICT (ek_sha256) DO UPDATE SET last_seen_at = excluded.last_seen_at`,
        )
        .run(ekHash, network, tpm, nowSeconds, MAX_UNAPPROVED, MAX_UNAPPROVED_PER_NETWORK);
    });
  }

  listUnapproved(): Promise<readonly UnapprovedHost[]> {
    return this.#state.read(() =>
      this.#state
        .statement('SELECT * FROM unapproved_hosts ORDER BY first_seen_at')
        .all()
        .map(toUnapprovedHost),
    );
  }

  #one(
    column: 'ak_id' | 'ek_sha256' | 'host_key_thumbprint',
    value: string,
  ): Promise<EnrolledHost | undefined> {
    return this.#state.read(() => {
      const row = this.#state.statement(`SELECT * FROM hosts WHERE ${column} = ?`).get(value);
      return row === undefined ? undefined : toEnrolledHost(row);
    });
  }
}

function isLater(a: BootState, b: BootState): boolean {
  if (a.resetCount !== b.resetCount) return a.resetCount > b.resetCount;
  if (a.restartCount !== b.restartCount) return a.restartCount > b.restartCount;
  return a.clock > b.clock;
}
