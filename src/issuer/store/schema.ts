/** The issuer's tables. Times are Unix seconds. Plain types and keys only, so that PostgreSQL can hold the same. */

/** Released scripts never change; what comes later is appended (base/sqlite.ts). */
export const MIGRATIONS: readonly string[] = [
  `
CREATE TABLE issuer_keys (
  purpose TEXT PRIMARY KEY,
  key_id TEXT NOT NULL UNIQUE,
  public_jwk TEXT,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE ca_certificates (
  key_id TEXT PRIMARY KEY,
  der BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE hosts (
  ak_id TEXT PRIMARY KEY,
  ek_sha256 TEXT NOT NULL UNIQUE,
  ak_public BLOB NOT NULL,
  host_key TEXT NOT NULL,
  host_key_thumbprint TEXT NOT NULL UNIQUE,
  audit_key TEXT NOT NULL,
  -- JSON: what the EK certificate vouches for, and where the TPM stands in its life.
  endorsement TEXT NOT NULL,
  boot TEXT NOT NULL,
  assurance TEXT NOT NULL,
  development_policy TEXT,
  ear TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL,
  attested_at INTEGER NOT NULL,
  standing_ends_at INTEGER NOT NULL
) STRICT;

CREATE TABLE unapproved_hosts (
  ek_sha256 TEXT PRIMARY KEY,
  network TEXT NOT NULL,
  tpm TEXT NOT NULL,
  first_seen_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
  session TEXT PRIMARY KEY,
  op TEXT NOT NULL,
  -- Who it was opened for: EK hash or AK Name, hex.
  subject TEXT NOT NULL,
  network TEXT NOT NULL,
  challenge TEXT NOT NULL,
  data TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_subject ON sessions (op, subject, network);
CREATE INDEX sessions_by_network ON sessions (op, network);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE host_nonces (
  host_key_thumbprint TEXT NOT NULL,
  nonce TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (host_key_thumbprint, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX host_nonces_by_expiry ON host_nonces (expires_at);

CREATE TABLE agent_names (
  host_label TEXT NOT NULL,
  name TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  bound_at INTEGER NOT NULL,
  PRIMARY KEY (host_label, name),
  UNIQUE (host_label, agent_id)
) STRICT;
CREATE TRIGGER agent_names_are_never_rebound BEFORE UPDATE ON agent_names
BEGIN SELECT RAISE(ABORT, 'agent names are never bound again'); END;
CREATE TRIGGER agent_names_are_never_freed BEFORE DELETE ON agent_names
BEGIN SELECT RAISE(ABORT, 'agent names are never freed'); END;

CREATE TABLE issuances (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  issued_at INTEGER NOT NULL,
  ak_id TEXT NOT NULL,
  host_label TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  key_thumbprint TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  -- The whole entry, RFC 8785 canonical JSON: the leaf of the transparency log.
  entry TEXT NOT NULL
) STRICT;
CREATE INDEX issuances_by_agent ON issuances (agent_id, sequence);
CREATE INDEX issuances_by_host ON issuances (host_label, issued_at);
CREATE TRIGGER issuances_are_never_changed BEFORE UPDATE ON issuances
BEGIN SELECT RAISE(ABORT, 'the issuance log is append-only'); END;
CREATE TRIGGER issuances_are_never_removed BEFORE DELETE ON issuances
BEGIN SELECT RAISE(ABORT, 'the issuance log is append-only'); END;
`,
  `
-- One key is one agent's: a second name for it would let what it signs be told two ways.
CREATE TABLE agent_keys (
  key_thumbprint TEXT PRIMARY KEY,
  host_label TEXT NOT NULL,
  agent_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO agent_keys (key_thumbprint, host_label, agent_id)
  SELECT key_thumbprint, host_label, agent_id FROM issuances WHERE true ON CONFLICT DO NOTHING;
CREATE TRIGGER agent_keys_are_never_rebound BEFORE UPDATE ON agent_keys
BEGIN SELECT RAISE(ABORT, 'agent keys are never bound again'); END;
CREATE TRIGGER agent_keys_are_never_freed BEFORE DELETE ON agent_keys
BEGIN SELECT RAISE(ABORT, 'agent keys are never freed'); END;
`,
  `
CREATE TABLE status_lists (
  list INTEGER PRIMARY KEY AUTOINCREMENT,
  -- Indices that were given out, and how often something was revoked.
  used INTEGER NOT NULL,
  revision INTEGER NOT NULL
) STRICT;

CREATE TABLE status_indices (
  list INTEGER NOT NULL REFERENCES status_lists (list),
  idx INTEGER NOT NULL,
  -- The host that it was given to, and that alone may revoke it.
  ek_sha256 TEXT NOT NULL,
  allocated_at INTEGER NOT NULL,
  revoked_at INTEGER,
  PRIMARY KEY (list, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX status_indices_by_host ON status_indices (ek_sha256, allocated_at);
CREATE TRIGGER status_indices_are_never_given_again BEFORE DELETE ON status_indices
BEGIN SELECT RAISE(ABORT, 'status indices are never given again'); END;
CREATE TRIGGER status_indices_are_revoked_for_good BEFORE UPDATE ON status_indices
WHEN OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL OR NEW.list <> OLD.list OR NEW.idx <> OLD.idx
  OR NEW.ek_sha256 <> OLD.ek_sha256
BEGIN SELECT RAISE(ABORT, 'a status index is revoked, once, and changes in nothing else'); END;
`,
  `
-- The status of DT0s, one for each key: every DT0 of the key ends with it.
CREATE TABLE grant_statuses (
  key_thumbprint TEXT PRIMARY KEY,
  list INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  FOREIGN KEY (list, idx) REFERENCES status_indices (list, idx)
) STRICT, WITHOUT ROWID;
`,
  `
-- TPMS_NV_PUBLIC of the counter under ledger and audit log.
ALTER TABLE hosts ADD COLUMN nv_public BLOB;

-- What was last seen of a host's logs: JSON of the heads. By EK, so that enrolling again begins nothing anew.
CREATE TABLE witnesses (
  ek_sha256 TEXT PRIMARY KEY,
  revision INTEGER NOT NULL,
  heads TEXT NOT NULL,
  is_counted INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE accepted_rollbacks (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  ek_sha256 TEXT NOT NULL,
  -- What had been seen until then.
  heads TEXT NOT NULL,
  accepted_by TEXT NOT NULL,
  accepted_at INTEGER NOT NULL
) STRICT;
CREATE TRIGGER accepted_rollbacks_are_never_changed BEFORE UPDATE ON accepted_rollbacks
BEGIN SELECT RAISE(ABORT, 'accepted rollbacks stay on record'); END;
CREATE TRIGGER accepted_rollbacks_are_never_removed BEFORE DELETE ON accepted_rollbacks
BEGIN SELECT RAISE(ABORT, 'accepted rollbacks stay on record'); END;
`,
];
