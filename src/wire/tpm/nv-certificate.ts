/** A certificate as it lies in NV: chips put a header before it and padding after it. */
import { DER_TAG, DerReader } from '../der.ts';
import { KeydError } from '../problem.ts';

// TCG PC Client TPM 1.2 §7.3.2: TCG_PCCLIENT_STORED_CERT, full certificate, size, TCG_FULL_CERT.
const STORED_CERTIFICATE = [0x10, 0x01] as const;
const STORED_HEADER_OCTETS = 7;

/**
 * The certificate's DER, without the 7 octets of header and without padding: zeros, or the ff of NV
 * that was never written.
 * @throws KeydError `malformed_structure`
 */
export function trimNvCertificate(stored: Uint8Array): Uint8Array {
  const headed = STORED_CERTIFICATE.every((octet, index) => stored[index] === octet);
  const octets = headed ? stored.subarray(STORED_HEADER_OCTETS) : stored;
  const { encoded } = new DerReader(octets, 'EK certificate').element(DER_TAG.sequence);
  const padding = octets.subarray(encoded.length);
  const [fill] = padding;
  if (fill !== undefined && ((fill !== 0x00 && fill !== 0xff) || padding.some((octet) => octet !== fill))) {
    throw new KeydError('malformed_structure', 'EK certificate is followed by octets that are no NV padding');
  }
  return new Uint8Array(encoded);
}
