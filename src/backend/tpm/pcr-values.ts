/** PCR values for a quote: TPM2_PCR_Read gives at most eight at once, and they may change in between. */
import { KeydError } from '../../wire/problem.ts';
import { parsePcrSelection, serializePcrSelection, type PcrSelection } from '../../wire/tpm/pcr-selection.ts';
import type { EsysConnection } from './esys.ts';

/**
 * Values in selection order.
 * @throws KeydError `unsupported_algorithm` where a bank is not active
 */
export async function readPcrValues(
  esys: EsysConnection,
  selection: PcrSelection,
): Promise<readonly Uint8Array[]> {
  const values = new Map<string, Uint8Array>();
  for (;;) {
    const missing = selection
      .map(({ bank, pcrs }) => ({ bank, pcrs: pcrs.filter((pcr) => !values.has(`${bank}:${pcr}`)) }))
      .filter(({ pcrs }) => pcrs.length > 0);
    if (missing.length === 0) break;
    const reply = await esys.pcrRead(serializePcrSelection(missing));
    const names = parsePcrSelection(reply.pcrSelection).flatMap(({ bank, pcrs }) =>
      pcrs.map((pcr) => `${bank}:${pcr}`),
    );
    if (names.length === 0 || names.length !== reply.values.length) {
      const banks = missing.map(({ bank }) => bank).join(', ');
      throw new KeydError(
        'unsupported_algorithm',
        `The TPM gives no PCR values of the bank ${banks}; is it active?`,
      );
    }
    names.forEach((name, index) => values.set(name, new Uint8Array(reply.values[index] ?? [])));
  }
  return selection.flatMap(({ bank, pcrs }) =>
    pcrs.map((pcr) => values.get(`${bank}:${pcr}`) ?? new Uint8Array()),
  );
}
