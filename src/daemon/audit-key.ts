/** The key that signs checkpoints: the one the issuer knows, or one of this host's own where it has no issuer. */
import { randomUUID } from 'node:crypto';
import type { CheckpointSigner } from '../audit/audit-log.ts';
import type { HardwareLane } from '../signing/hardware.ts';
import { queuedBackend } from './queued-backend.ts';
import type { DocumentStore } from './state/documents.ts';

export interface AuditKeyOptions {
  /** The TPM first. */
  readonly lanes: readonly HardwareLane[];
  readonly documents: DocumentStore;
  /** UUID of the audit key that was certified at enrolment. */
  readonly enrolledKeyId: () => string | undefined;
}

const KIND = 'audit-key';

/** Undefined while no backend is ready. */
export async function auditSigner(options: AuditKeyOptions): Promise<CheckpointSigner | undefined> {
  const lane = await readyLane(options.lanes);
  if (lane === undefined) return undefined;
  const backend = queuedBackend(lane);
  const id = options.enrolledKeyId() ?? ownKeyId(options.documents);
  const key =
    (await backend.find(id)) ?? (await backend.generate({ keyId: id, purpose: 'audit', algorithm: 'ES256' }));
  if (key.purpose !== 'audit') return undefined;
  return {
    publicJwk: key.publicJwk,
    sign: (octets) => backend.sign(id, { kind: 'message', octets }),
  };
}

async function readyLane(lanes: readonly HardwareLane[]): Promise<HardwareLane | undefined> {
  const ordered = [...lanes].sort(
    (a, b) => Number(b.backend.kind === 'tpm') - Number(a.backend.kind === 'tpm'),
  );
  for (const lane of ordered) {
    if ((await lane.backend.describe()).state === 'ready') return lane;
  }
  return undefined;
}

function ownKeyId(documents: DocumentStore): string {
  const known = documents.get(KIND, 'own');
  if (typeof known === 'string') return known;
  const id = randomUUID();
  documents.put(KIND, 'own', id);
  return id;
}
