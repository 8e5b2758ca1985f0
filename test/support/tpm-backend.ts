/** What the TPM backend needs besides a TPM, in memory; copies go in and out as through a database. */
import { randomBytes } from 'node:crypto';
import type { KeyBlobRecord, KeyBlobStore } from '../../src/backend/backend.ts';
import type { CommandAuditMemory, RememberedAudit } from '../../src/backend/command-audit.ts';
import type { CounterMemory, RememberedCounter } from '../../src/backend/counter.ts';
import {
  openTpmBackend,
  type TpmBackend,
  type TpmBackendOptions,
} from '../../src/backend/tpm/tpm-backend.ts';
import type { RememberedTpm, TpmMemory } from '../../src/backend/tpm/tpm-identity.ts';

export class MemoryBlobStore implements KeyBlobStore {
  readonly records = new Map<string, KeyBlobRecord>();

  put(record: KeyBlobRecord): Promise<void> {
    this.records.set(record.keyId, structuredClone(record));
    return Promise.resolve();
  }

  get(keyId: string): Promise<KeyBlobRecord | undefined> {
    return Promise.resolve(structuredClone(this.records.get(keyId)));
  }

  list(): Promise<readonly KeyBlobRecord[]> {
    return Promise.resolve(structuredClone([...this.records.values()]));
  }

  delete(keyId: string): Promise<void> {
    this.records.delete(keyId);
    return Promise.resolve();
  }
}

export class RememberedInMemory implements TpmMemory {
  tpm: RememberedTpm | undefined;

  load(): Promise<RememberedTpm | undefined> {
    return Promise.resolve(this.tpm);
  }

  save(tpm: RememberedTpm): Promise<void> {
    this.tpm = tpm;
    return Promise.resolve();
  }
}

export class CounterInMemory implements CounterMemory {
  counter: RememberedCounter | undefined;
  /** Called before each save, so that a test can copy or fail there. */
  onSave: (counter: RememberedCounter) => void = () => undefined;

  load(): Promise<RememberedCounter | undefined> {
    return Promise.resolve(this.counter);
  }

  save(counter: RememberedCounter): Promise<void> {
    this.onSave(counter);
    this.counter = counter;
    return Promise.resolve();
  }
}

export class CommandAuditInMemory implements CommandAuditMemory {
  audit: RememberedAudit | undefined;

  take(): Promise<RememberedAudit | undefined> {
    const { audit } = this;
    this.audit = undefined;
    return Promise.resolve(audit);
  }

  save(audit: RememberedAudit): Promise<void> {
    this.audit = audit;
    return Promise.resolve();
  }
}

/** A daemon's durable state: opening over it again is what a restart does. */
export class TpmHost {
  readonly secret = randomBytes(32);
  readonly store = new MemoryBlobStore();
  readonly memory = new RememberedInMemory();
  readonly counterMemory = new CounterInMemory();
  readonly commandAuditMemory = new CommandAuditInMemory();
  readonly refused = new Set<string>();
  readonly #tcti: string;

  constructor(tcti: string) {
    this.#tcti = tcti;
  }

  open(options: Partial<TpmBackendOptions> = {}): Promise<TpmBackend> {
    const { secret, store, memory, refused } = this;
    const refusedAuths = {
      has: (hash: string) => Promise.resolve(refused.has(hash)),
      add: (hash: string) => {
        refused.add(hash);
        return Promise.resolve();
      },
    };
    return openTpmBackend({ tcti: this.#tcti, secret, store, memory, refusedAuths, ...options });
  }
}
