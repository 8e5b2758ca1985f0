import { createHash } from 'node:crypto';

/**
 * Every operation whose evidence the AK signs. The tag enters extraData, so that evidence made for one
 * operation is void for every other (S9).
 */
export type AttestedOperation =
  'enroll' | 'reattest' | 'issue-certify' | 'issue-quote' | 'audit' | 'command-audit';

const CHANNEL_OCTETS = 32;

function sha256(...parts: readonly (string | Uint8Array)[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/**
 * extraData of evidence for the issuer, 32 octets:
 * `SHA-256("agentkey/v1/" ‖ op ‖ 0x00 ‖ SHA-256(challenge JWS) ‖ SHA-256(bound) ‖ channel)`.
 *
 * @param challenge the challenge as received, compact JWS
 * @param bound canonical octets of everything this evidence is to vouch for
 * @param channel TLS exporter of the connection that carries the evidence, 32 octets; `undefined` only
 *   where both sides are configured for `proxied`, and then 32 zero octets are bound
 */
export function attestedData(
  op: AttestedOperation,
  challenge: string,
  bound: Uint8Array,
  channel: Uint8Array | undefined,
): Uint8Array {
  const exporter = channel ?? new Uint8Array(CHANNEL_OCTETS);
  if (exporter.length !== CHANNEL_OCTETS) throw new RangeError('a channel binding has 32 octets');
  return sha256('agentkey/v1/', op, '\0', sha256(challenge), sha256(bound), exporter);
}

/** Label of the TLS 1.3 exporter that binds evidence to its connection (RFC 9266). */
export const CHANNEL_EXPORTER_LABEL = 'EXPORTER-Channel-Binding';

/** extraData of a quote for a third party, 32 octets; shares no prefix with evidence for the issuer. */
export function thirdPartyQuoteData(audience: string, nonce: Uint8Array): Uint8Array {
  return sha256('agentkey/v1/quote-3p', '\0', sha256(audience), nonce);
}

/**
 * What an activated credential proves, 32 octets: HMAC-SHA-256 keyed by the credential secret over this
 * challenge and this enrolment request. The secret itself never travels.
 */
export function activationMessage(challenge: string, enrolment: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from('agentkey/v1/activate\0'), sha256(challenge), sha256(enrolment)]);
}
