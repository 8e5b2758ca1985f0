/** What the TPM says about itself, looked at before it leaves the backend: it is what was asked for. */
import { KeydError } from '../../wire/problem.ts';
import { parseAttest, type Attest } from '../../wire/tpm/attest.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';

/** Every extraData of this project is a SHA-256 (S9). */
const QUALIFYING_OCTETS = 32;

/** @throws KeydError `malformed_request` */
export function requireQualifyingData(octets: Uint8Array): void {
  if (octets.length === QUALIFYING_OCTETS) return;
  throw new KeydError(
    'malformed_request',
    `Qualifying data has ${QUALIFYING_OCTETS} octets, not ${octets.length}`,
  );
}

/** @throws KeydError `tpm_unavailable` for another statement than was asked for */
export function requireAttest<T extends Attest['type']>(
  octets: Uint8Array,
  type: T,
  qualifyingData: Uint8Array,
): Attest & { readonly type: T } {
  const attest = parseAttest(octets);
  if (!isOfType(attest, type) || !sameOctets(attest.extraData, qualifyingData)) {
    throw new KeydError(
      'tpm_unavailable',
      `The TPM attested something else than the ${type} that was asked for`,
    );
  }
  return attest;
}

/** A copy that no native code can change. */
export function octetsOf(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer);
}

function isOfType<T extends Attest['type']>(
  attest: Attest,
  type: T,
): attest is Attest & { readonly type: T } {
  return attest.type === type;
}
