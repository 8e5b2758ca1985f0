import type { StatusReference } from '../wire/issuance/status.ts';
import type { IssuerStatusIndices } from './status-indices.ts';

/** Asked for beyond what is needed, so that not every delegation waits for the issuer. Lost at a restart. */
const SPARE = 32;

/** Status indices with some in hand. An index is given out once, whether it is used or not. */
export class SpareIndices {
  readonly #issuer: Pick<IssuerStatusIndices, 'allocate' | 'revoke'>;
  readonly #spare: StatusReference[] = [];

  constructor(issuer: Pick<IssuerStatusIndices, 'allocate' | 'revoke'>) {
    this.#issuer = issuer;
  }

  /** @throws KeydError `not_enrolled`, `issuer_*`, `tpm_*` where too few are in hand and the issuer gives none */
  async allocate(count: number): Promise<readonly StatusReference[]> {
    if (this.#spare.length < count) {
      this.#spare.push(...(await this.#issuer.allocate(count - this.#spare.length + SPARE)));
    }
    return this.#spare.splice(0, count);
  }

  /** @throws KeydError `not_enrolled`, `issuer_*`, `tpm_*` */
  revoke(references: readonly StatusReference[]): Promise<void> {
    return this.#issuer.revoke(references);
  }
}
