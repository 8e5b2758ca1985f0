/** The extraData that evidence must carry (S9), computed from what this end of the connection knows. */
import { attestedData, type AttestedOperation } from '../../wire/attested-data.ts';
import { KeydError } from '../../wire/problem.ts';
import type { ConsumedChallenge } from './consumed-challenge.ts';

/**
 * @param exporter TLS exporter of the connection that carried the evidence, 32 octets; undefined where TLS ended
 *   before the issuer, which only a challenge for `proxied` allows
 * @throws KeydError `evidence_invalid` where the challenge wants an exporter and there is none
 */
export function expectedExtraData(
  op: AttestedOperation,
  challenge: ConsumedChallenge,
  bound: Uint8Array,
  exporter: Uint8Array | undefined,
): Uint8Array {
  if (challenge.claims.channel === 'proxied') return attestedData(op, challenge.jws, bound, undefined);
  if (exporter === undefined) {
    throw new KeydError(
      'evidence_invalid',
      'the challenge is bound to a TLS channel, and this connection has none',
    );
  }
  return attestedData(op, challenge.jws, bound, exporter);
}
