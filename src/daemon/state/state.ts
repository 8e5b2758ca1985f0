/** Everything durable of one daemon, behind the interfaces of the rooms that own it. */
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyBlobStore } from '../../backend/backend.ts';
import type { CommandAuditMemory } from '../../backend/command-audit.ts';
import type { CounterMemory } from '../../backend/counter.ts';
import type { PinFailureStore } from '../../backend/pkcs11/pin-guard.ts';
import type { TpmMemory } from '../../backend/tpm/tpm-identity.ts';
import { openStateDatabase } from '../../base/sqlite.ts';
import type { IssuanceStore } from '../../issuance/issuance-store.ts';
import type { ApprovalStore } from '../../policy/approval-desk.ts';
import type { IdempotencyStore } from '../../socket/idempotency.ts';
import { KeydError } from '../../wire/problem.ts';
import { SqliteAgentStore } from './agent-store.ts';
import { SqliteDelegationStore } from './delegation-store.ts';
import { openApprovalStore } from './approval-store.ts';
import { openCommandAuditMemory } from './command-audit-memory.ts';
import { openCounterMemory } from './counter-memory.ts';
import { openDocumentStore, type DocumentStore } from './documents.ts';
import { openIdempotencyStore } from './idempotency-rows.ts';
import { openIssuanceStore } from './issuance-records.ts';
import { openKeyBlobStore } from './key-blobs.ts';
import { lockState } from './lock.ts';
import { STATE_MIGRATIONS } from './migrations.ts';
import { openRefusedPins } from './refused-pins.ts';
import { openTpmMemory } from './tpm-memory.ts';

export interface DaemonState {
  readonly agents: SqliteAgentStore;
  readonly delegations: SqliteDelegationStore;
  readonly keyBlobs: KeyBlobStore;
  readonly tpmMemory: TpmMemory;
  readonly counterMemory: CounterMemory;
  readonly commandAuditMemory: CommandAuditMemory;
  readonly refusedPins: PinFailureStore;
  readonly issuance: IssuanceStore;
  readonly idempotency: IdempotencyStore;
  readonly approvals: ApprovalStore;
  readonly documents: DocumentStore;
  close(): void;
}

const GROUP_AND_OTHERS = 0o077;

/**
 * Opens the state in `directory`, making it where it is not there yet.
 * @throws KeydError `conflict` (another daemon has it), `state_newer`, `configuration_invalid`
 */
export function openState(directory: string): DaemonState {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { mode } = statSync(directory);
  if ((mode & GROUP_AND_OTHERS) !== 0) {
    throw new KeydError(
      'configuration_invalid',
      `the state directory ${directory} is open to others (mode ${(mode & 0o777).toString(8)}); chmod 0700 it`,
    );
  }
  const lock = lockState(directory);
  try {
    const database = openStateDatabase({ path: join(directory, 'state.db'), migrations: STATE_MIGRATIONS });
    const documents = openDocumentStore(database);
    const agents = new SqliteAgentStore(database);
    return {
      agents,
      delegations: new SqliteDelegationStore(database, agents),
      keyBlobs: openKeyBlobStore(database),
      tpmMemory: openTpmMemory(documents),
      counterMemory: openCounterMemory(documents),
      commandAuditMemory: openCommandAuditMemory(documents),
      refusedPins: openRefusedPins(database),
      issuance: openIssuanceStore(documents),
      idempotency: openIdempotencyStore(database),
      approvals: openApprovalStore(database),
      documents,
      close() {
        database.close();
        lock.release();
      },
    };
  } catch (thrown) {
    lock.release();
    throw thrown;
  }
}
