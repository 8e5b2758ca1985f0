import type { CounterMemory } from '../../backend/counter.ts';
import { boolean, integer, object, oneOf, optional, parse, text } from '../../wire/check.ts';
import type { DocumentStore } from './documents.ts';

const KIND = 'tpm-counter';
/** There is one counter, so one record. */
const THE_COUNTER = 'counter';

const shape = object({
  state: oneOf(['defining', 'in-use']),
  nvIndex: integer({ min: 0, max: 0xffff_ffff }),
  sinceValue: optional(text({ maxLength: 20, pattern: /^\d+$/ })),
  sinceMs: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  isAdopted: optional(boolean),
});

/** Which NV counter this host's is, as a document in state.db. */
export function openCounterMemory(documents: DocumentStore): CounterMemory {
  return {
    async load() {
      await Promise.resolve();
      const document = documents.get(KIND, THE_COUNTER);
      return document === undefined ? undefined : parse(shape, document, 'internal');
    },
    async save(counter) {
      await Promise.resolve();
      documents.put(KIND, THE_COUNTER, counter);
    },
  };
}
