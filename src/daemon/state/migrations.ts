/** Schema of state.db. A released script never changes; what comes later is appended. */
export const STATE_MIGRATIONS: readonly string[] = [
  `
  -- A name is claimed before hardware makes a key and is never given to another (S6).
  CREATE TABLE agents (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    owner_uid      INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('reserved', 'live', 'retired')),
    backend        TEXT,
    algorithm      TEXT,
    key_id         TEXT UNIQUE,
    public_jwk     TEXT,
    kid            TEXT,
    created_at_ms  INTEGER,
    retired_at_ms  INTEGER,
    CHECK (state <> 'live' OR (backend IS NOT NULL AND algorithm IS NOT NULL AND key_id IS NOT NULL
      AND public_jwk IS NOT NULL AND kid IS NOT NULL AND created_at_ms IS NOT NULL))
  ) STRICT;

  -- What hardware gives out wrapped, and the salt that enters the key's auth (S15).
  CREATE TABLE key_blobs (
    key_id     TEXT PRIMARY KEY,
    purpose    TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    blob       BLOB NOT NULL,
    salt       BLOB NOT NULL,
    epoch      INTEGER NOT NULL
  ) STRICT;

  -- Records of rooms that need no query: what this TPM is, the host, credentials.
  CREATE TABLE documents (
    kind  TEXT NOT NULL,
    id    TEXT NOT NULL,
    json  TEXT NOT NULL,
    PRIMARY KEY (kind, id)
  ) STRICT, WITHOUT ROWID;

  -- Keyed hashes of PINs that a token refused (S17).
  CREATE TABLE refused_pins (
    hash  TEXT PRIMARY KEY
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE idempotency (
    caller          TEXT NOT NULL,
    key             TEXT NOT NULL,
    request_digest  TEXT NOT NULL,
    answer          TEXT,
    expires_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_expiry ON idempotency (expires_at_ms);
  `,
  `
  -- Sub-agents: whose key signs their links, on which terms, and the chain they present at present.
  CREATE TABLE delegations (
    agent_id       TEXT PRIMARY KEY,
    parent_id      TEXT NOT NULL,
    terms          TEXT NOT NULL,
    chain          TEXT NOT NULL,
    status         TEXT,
    allocated      INTEGER NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    ends_at_ms     INTEGER NOT NULL
  ) STRICT;

  -- What is left to do for a delegation that has ended: its account to be closed, its end to be published.
  CREATE TABLE delegation_ends (
    agent_id       TEXT PRIMARY KEY,
    release_at_ms  INTEGER NOT NULL,
    status         TEXT,
    closed         INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- Keys that belong to nobody any more and may still be in hardware.
  CREATE TABLE doomed_keys (
    key_id   TEXT PRIMARY KEY,
    backend  TEXT NOT NULL CHECK (backend IN ('tpm', 'pkcs11'))
  ) STRICT, WITHOUT ROWID;

  -- Numbers of ephemeral sub-agents below an agent, up to which they may have been given (S6).
  CREATE TABLE ephemeral_numbers (
    parent_id  TEXT PRIMARY KEY,
    reserved   INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- What a person has to allow, and what they said.
  CREATE TABLE approvals (
    id             TEXT PRIMARY KEY,
    created_at_ms  INTEGER NOT NULL,
    expires_at_ms  INTEGER NOT NULL,
    json           TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX approvals_by_time ON approvals (created_at_ms);
  `,
];
