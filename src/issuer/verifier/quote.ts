/** A quote: checks 11 to 15, then, once the boot counts are judged, 21 and 22 over what it quotes. */
import type { QuoteEvidence } from '../../wire/issuance/evidence.ts';
import type { QuoteAttest } from '../../wire/tpm/attest.ts';
import { sameOctets } from '../../wire/tpm/codec.ts';
import { pcrDigest, samePcrSelection, type PcrSelection } from '../../wire/tpm/pcr-selection.ts';
import { signingScheme } from '../../wire/tpm/signature.ts';
import type { AttestationKey } from './attestation-key.ts';
import type { Appraisal } from './checks.ts';
import { checkSignedAttest } from './signed-attest.ts';

/** Checks 11 to 15. @throws KeydError `evidence_invalid` */
export function checkQuoteSignature(
  appraisal: Appraisal,
  ak: AttestationKey,
  evidence: QuoteEvidence,
  extraData: Uint8Array,
): QuoteAttest {
  return checkSignedAttest(appraisal, {
    what: 'quote',
    type: 'quote',
    ak,
    attest: evidence.attest,
    signature: evidence.sig,
    extraData,
  });
}

/** Checks 21 and 22: what was asked for is what was quoted, and the PCR values are those. */
export function checkQuotedPcrs(
  appraisal: Appraisal,
  ak: AttestationKey,
  quote: QuoteAttest,
  asked: PcrSelection,
  values: readonly Uint8Array[],
): void {
  appraisal.check(21, (verdict) => {
    if (!samePcrSelection(quote.pcrSelection, asked))
      verdict.reject('the quote covers other PCRs than were asked for');
  });
  appraisal.check(22, (verdict) => {
    // Part 4 Quote(): the digest is made with the hash of the signing scheme.
    const digest = pcrDigest(signingScheme(ak.area).hash, asked, values);
    if (!sameOctets(digest, quote.pcrDigest)) verdict.reject('the PCR values are not those that were quoted');
  });
}
