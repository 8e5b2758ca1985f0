/** PKCS#10 (RFC 2986) as proof of possession: its key and its signature, nothing else in it counts (check 18). */
import type { KeyObject } from 'node:crypto';
import { AnswerMemory } from '../../base/answer-memory.ts';
import { contextTag, DER_TAG, readWhole } from '../../wire/der.ts';
import { readKeyAlgorithm } from '../../wire/x509.ts';
import { importPublicKey, verifySigned, type SignedOctets } from '../../wire/x509-signature.ts';

/** The signed octets are the CertificationRequestInfo. */
export interface CertificationRequest extends SignedOctets {
  readonly publicKey: KeyObject;
}

const WHAT = 'CSR';
const VERSION_1 = 0;

/** By SubjectPublicKeyInfo, hex: an agent's next CSR is for the same key. */
const keys = new AnswerMemory<KeyObject>();

/** @throws KeydError `malformed_structure` */
export function parseCertificationRequest(encoded: Uint8Array): CertificationRequest {
  return readWhole(encoded, WHAT, (reader) => {
    const request = reader.sequence();
    const info = request.element(DER_TAG.sequence);
    const { encoded: signatureAlgorithm } = request.element(DER_TAG.sequence);
    const signature = request.bitString();
    request.end();
    if (signature.unusedBits !== 0) request.fail('has a signature that is not whole octets');
    const spki = readWhole(info.encoded, WHAT, (outer) => {
      const fields = outer.sequence();
      fields.smallInteger(VERSION_1);
      fields.element(DER_TAG.sequence);
      const { encoded: key } = fields.element(DER_TAG.sequence);
      fields.element(contextTag(0));
      fields.end();
      return key;
    });
    return {
      publicKey: keys.answer(Buffer.from(spki).toString('hex'), () =>
        importPublicKey(spki, readWhole(spki, WHAT, readKeyAlgorithm), WHAT),
      ),
      tbs: info.encoded,
      signatureAlgorithm,
      signature: signature.octets,
    };
  });
}

/** Whether the holder of the request's own key signed it. */
export function isSelfSigned(request: CertificationRequest): boolean {
  return verifySigned(request, request.publicKey);
}
