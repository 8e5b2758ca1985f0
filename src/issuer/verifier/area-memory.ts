import { AnswerMemory } from '../../base/answer-memory.ts';
import { parsePublicArea, type PublicArea } from '../../wire/tpm/public-area.ts';

/**
 * Public areas by their octets: one that is parsed once is imported once (wire/tpm/public-key.ts), and keys come again
 * with every renewal. What is checked about a key is checked each time.
 */
export class AreaMemory {
  readonly #areas = new AnswerMemory<PublicArea>();

  /** @param octets TPMT_PUBLIC @throws KeydError `malformed_structure` */
  parsed(octets: Uint8Array): PublicArea {
    return this.#areas.answer(Buffer.from(octets).toString('hex'), () => parsePublicArea(octets));
  }
}
