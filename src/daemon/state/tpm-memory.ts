import type { RememberedTpm, TpmMemory } from '../../backend/tpm/tpm-identity.ts';
import type { DocumentStore } from './documents.ts';

const KIND = 'tpm';
/** There is one TPM, so one record. */
const THE_TPM = 'tpm';

/** Which TPM the keys belong to, as a document in state.db. */
export function openTpmMemory(documents: DocumentStore): TpmMemory {
  return {
    async load() {
      await Promise.resolve();
      return documents.get(KIND, THE_TPM) as RememberedTpm | undefined;
    },
    async save(tpm) {
      await Promise.resolve();
      documents.put(KIND, THE_TPM, tpm);
    },
  };
}
