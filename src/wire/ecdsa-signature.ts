/** ECDSA signatures: DER `ECDSA-Sig-Value` (RFC 3279 §2.2.3) and r||s as JOSE and RFC 9421 carry it. */
import { verify, type KeyObject } from 'node:crypto';
import { der, DER_TAG, derSequence, readWhole } from './der.ts';
import { KeydError } from './problem.ts';

const ZERO = Uint8Array.of(0);

/**
 * DER to r||s, each left-padded with zeros to `coordinateOctets` (32 for P-256, 48 for P-384).
 * @throws KeydError `malformed_structure` for anything but one strict DER pair of positive integers that fit
 */
export function ecdsaDerToConcat(signature: Uint8Array, coordinateOctets: number): Uint8Array {
  return readWhole(signature, 'the ECDSA-Sig-Value', (reader) => {
    const sequence = reader.sequence();
    const halves = [sequence.integer(), sequence.integer()].map((value) => {
      const digits = value.toString(16);
      if (value <= 0n || digits.length > coordinateOctets * 2) {
        reader.fail(`has an integer outside 1 to 2^${coordinateOctets * 8} - 1`);
      }
      return digits.padStart(coordinateOctets * 2, '0');
    });
    sequence.end();
    return Buffer.from(halves.join(''), 'hex');
  });
}

/** r||s to DER. @throws KeydError `malformed_structure` for another length or a zero half */
export function ecdsaConcatToDer(signature: Uint8Array, coordinateOctets: number): Uint8Array {
  if (signature.length !== coordinateOctets * 2) {
    throw new KeydError(
      'malformed_structure',
      `r||s has ${signature.length} octets, not ${coordinateOctets * 2}`,
    );
  }
  return derSequence(
    derPositive(signature.subarray(0, coordinateOctets)),
    derPositive(signature.subarray(coordinateOctets)),
  );
}

/** An INTEGER from unsigned octets. Each ECDSA signature is written so before it is verified: no BigInt in between. */
function derPositive(half: Uint8Array): Uint8Array {
  const first = half.findIndex((octet) => octet !== 0);
  if (first < 0) throw new KeydError('malformed_structure', 'r||s has a zero half');
  const digits = half.subarray(first);
  // The highest bit of an INTEGER is its sign.
  return (digits[0] ?? 0) < 0x80 ? der(DER_TAG.integer, digits) : der(DER_TAG.integer, ZERO, digits);
}

/**
 * Whether `signature` (r||s, of the length the caller has checked) over `message` is by this EC key; a zero half is
 * false. node:crypto is given DER and the bare key: `dsaEncoding` wants the key in an options object, and node finds out
 * that this is no key by throwing and catching errors of its own, a third of the cost of a verification.
 */
export function verifyEcdsa(
  hash: string | undefined,
  message: Uint8Array,
  key: KeyObject,
  signature: Uint8Array,
): boolean {
  const octets = signature.length / 2;
  const halves = [signature.subarray(0, octets), signature.subarray(octets)];
  if (halves.some((half) => half.every((octet) => octet === 0))) return false;
  return verify(hash, message, key, ecdsaConcatToDer(signature, octets));
}
