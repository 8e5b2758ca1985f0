/** Checks 11 to 15 over one TPMS_ATTEST: nothing in it is read as meant before the AK's signature holds. */
import {
  parseAttest,
  type Attest,
  type CertifyAttest,
  type NvAttest,
  type QuoteAttest,
} from '../../wire/tpm/attest.ts';
import { hex, sameOctets, TpmReader } from '../../wire/tpm/codec.ts';
import { TPM_GENERATED_VALUE, TPM_ST } from '../../wire/tpm/constants.ts';
import { verifyTpmSignature } from '../../wire/tpm/signature.ts';
import { isSigner, type AttestationKey } from './attestation-key.ts';
import type { Appraisal } from './checks.ts';

/** Types that this Verifier has a use for. */
const TYPES = {
  certify: TPM_ST.ATTEST_CERTIFY,
  quote: TPM_ST.ATTEST_QUOTE,
  nv: TPM_ST.ATTEST_NV,
} as const;

interface Statements {
  readonly certify: CertifyAttest;
  readonly quote: QuoteAttest;
  readonly nv: NvAttest;
}

export interface SignedAttestInput<T extends keyof Statements> {
  /** For messages: which of several statements this is. */
  readonly what: string;
  readonly type: T;
  readonly ak: AttestationKey;
  /** TPMS_ATTEST, marshalled. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE, marshalled. */
  readonly signature: Uint8Array;
  readonly extraData: Uint8Array;
}

/** @throws KeydError `evidence_invalid` */
export function checkSignedAttest<T extends keyof Statements>(
  appraisal: Appraisal,
  input: SignedAttestInput<T>,
): Statements[T] {
  const { what, ak } = input;
  appraisal.check(11, (verdict) => {
    if (!verifyTpmSignature(ak.area, input.attest, input.signature)) {
      verdict.reject(`${what}: the signature is not by the AK over these octets`);
    }
  });
  const head = new TpmReader(input.attest, 'TPMS_ATTEST');
  appraisal.check(12, (verdict) => {
    const magic = head.u32();
    if (magic !== TPM_GENERATED_VALUE)
      verdict.reject(`${what}: the magic is ${hex(magic, 8)}, so no TPM made it`);
  });
  const parsed = appraisal.check(13, (verdict) => {
    const type = head.u16();
    if (type !== TYPES[input.type]) {
      verdict.reject(`${what}: the type is ${hex(type)}, not ${hex(TYPES[input.type])} (${input.type})`);
    }
    const attest = parseAttest(input.attest);
    return isType(attest, input.type) ? attest : verdict.reject(`${what}: the statement is a ${attest.type}`);
  });
  appraisal.check(14, (verdict) => {
    if (!sameOctets(parsed.extraData, input.extraData)) {
      verdict.reject(`${what}: extraData is not that of this operation, challenge, request and connection`);
    }
  });
  appraisal.check(15, (verdict) => {
    if (!isSigner(ak, parsed.qualifiedSigner)) {
      verdict.reject(`${what}: the signer is not the AK as a primary of the endorsement hierarchy`);
    }
  });
  return parsed;
}

function isType<T extends keyof Statements>(attest: Attest, type: T): attest is Statements[T] & Attest {
  return attest.type === type;
}
