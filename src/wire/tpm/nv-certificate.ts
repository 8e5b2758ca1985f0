/** A certificate as it lies in NV: chips put a header before it and padding after it. */
import { DER_TAG, DerReader } from '../der.ts';
import { KeydError } from '../problem.ts';

// TCG PC Client TPM 1.2 §7.3.2: TCG_PCCLIENT_STORED_CERT, full certificate, size, TCG_FULL_CERT.
const STORED_CERTIFICATE = 0x1001;
const FULL_CERTIFICATE = 0x1002;
const STORED_HEADER_OCTETS = 7;

/**
 * The certificate's DER, without the 7 octets of header and without padding: zeros, or the ff of NV
 * that was never written.
 * @throws KeydError `malformed_structure`
 */
export function trimNvCertificate(stored: Uint8Array): Uint8Array {
  const octets = stripHeader(stored);
  const { encoded } = new DerReader(octets, 'EK certificate').element(DER_TAG.sequence);
  const padding = octets.subarray(encoded.length);
  const [fill] = padding;
  if (fill !== undefined && ((fill !== 0x00 && fill !== 0xff) || padding.some((octet) => octet !== fill))) {
    throw new KeydError('malformed_structure', 'EK certificate is followed by octets that are no NV padding');
  }
  return new Uint8Array(encoded);
}

function stripHeader(stored: Uint8Array): Uint8Array {
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  if (stored.length < STORED_HEADER_OCTETS || view.getUint16(0) !== STORED_CERTIFICATE) return stored;
  // The size counts the inner tag, which is the last two octets of the header.
  const size = view.getUint16(3) - 2;
  const body = stored.subarray(STORED_HEADER_OCTETS);
  if (view.getUint8(2) !== 0 || view.getUint16(5) !== FULL_CERTIFICATE || size > body.length || size < 0) {
    throw new KeydError('malformed_structure', 'EK certificate has a damaged TCG header');
  }
  const rest = body.subarray(size);
  if (rest.some((octet) => octet !== 0x00 && octet !== 0xff)) {
    throw new KeydError('malformed_structure', 'EK certificate is followed by octets that are no NV padding');
  }
  return body.subarray(0, size);
}
