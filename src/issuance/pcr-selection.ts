import type { PcrSelection } from '../wire/tpm/pcr-selection.ts';

/** PCR indices of the SHA-256 bank as a selection, ascending and without repetition. */
export function toPcrSelection(pcrs: readonly number[]): PcrSelection {
  return [{ bank: 'sha256', pcrs: [...new Set(pcrs)].sort((a, b) => a - b) }];
}
