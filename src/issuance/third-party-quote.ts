/** Evidence for somebody else's nonce: a quote whose extraData no issuer message can have (S9). */
import type { Attester } from '../backend/attester.ts';
import { thirdPartyQuoteData } from '../wire/attested-data.ts';
import { decodeBase64url, encodeBase64url } from '../wire/base64url.ts';
import { KeydError } from '../wire/problem.ts';
import type { ThirdPartyQuote } from '../wire/socket/agents.ts';
import { ATTESTED_PCRS } from '../wire/tpm/pcr-selection.ts';
import { toPcrSelection } from './pcr-selection.ts';

const MIN_NONCE_OCTETS = 16;
const MAX_NONCE_OCTETS = 64;

export interface ThirdPartyQuoteRequest {
  readonly audience: string;
  /** Base64url, 16 to 64 octets. */
  readonly nonce: string;
  /** PCRs of the SHA-256 bank; default as for the issuer. */
  readonly pcrs?: readonly number[];
}

/** @throws KeydError `malformed_request`, `tpm_*` */
export async function quoteForThirdParty(
  attester: Attester,
  request: ThirdPartyQuoteRequest,
): Promise<ThirdPartyQuote> {
  const nonce = decodeBase64url(request.nonce, 'nonce');
  if (nonce.length < MIN_NONCE_OCTETS || nonce.length > MAX_NONCE_OCTETS) {
    throw new KeydError('malformed_request', `nonce has ${nonce.length} octets; 16 to 64 are accepted`);
  }
  const selection = request.pcrs === undefined ? ATTESTED_PCRS : toPcrSelection(request.pcrs);
  const extraData = thirdPartyQuoteData(request.audience, nonce);
  const { attest, signature, pcrs } = await attester.quote(selection, extraData);
  return {
    attest: encodeBase64url(attest),
    signature: encodeBase64url(signature),
    pcrs: pcrs.map(encodeBase64url),
    pcrSelection: selection.flatMap((bank) => bank.pcrs),
    akPublic: encodeBase64url(await attester.attestationKey()),
    extraData: encodeBase64url(extraData),
  };
}
