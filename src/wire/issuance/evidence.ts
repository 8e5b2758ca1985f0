/** Shapes of TPM evidence as it travels: TPM structures are raw marshalled octets, base64url. */
import { array, object, octets, text, type Infer } from '../check.ts';

const MAX_STRUCTURE_OCTETS = 2048;

/** TPMS_ATTEST and TPMT_SIGNATURE. */
export const signedAttest = object({
  attest: octets({ min: 1, max: MAX_STRUCTURE_OCTETS }),
  sig: octets({ min: 1, max: MAX_STRUCTURE_OCTETS }),
});

/** A quote with the PCR values it covers, in selection order. */
export const quoteEvidence = object({
  attest: octets({ min: 1, max: MAX_STRUCTURE_OCTETS }),
  sig: octets({ min: 1, max: MAX_STRUCTURE_OCTETS }),
  pcrs: array(octets({ min: 20, max: 64 }), { max: 24 }),
});

/** A key that the AK vouches for: TPMT_PUBLIC and TPM2_Certify over it. */
export const certifiedKey = object({
  public: octets({ min: 1, max: MAX_STRUCTURE_OCTETS }),
  certify: signedAttest,
});

/** PCRs to quote per bank. */
export const pcrSelectionJson = object({ sha256: array(pcrIndex(), { min: 1, max: 24 }) });

export const akId = text({
  maxLength: 132,
  pattern: /^000b[0-9a-f]{64}$/,
  what: 'a SHA-256 Name in lower-case hex',
});
export const sessionId = text({ maxLength: 64, pattern: /^[A-Za-z0-9_-]{22,64}$/ });
/** A compact JWS. */
export const compactJws = text({
  maxLength: 8192,
  pattern: /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/,
});

export type SignedAttestJson = Infer<typeof signedAttest>;
export type QuoteEvidence = Infer<typeof quoteEvidence>;
export type CertifiedKeyEvidence = Infer<typeof certifiedKey>;

function pcrIndex() {
  return (value: unknown, path: string, faults: string[]): number => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 23) return value;
    faults.push(`${path} must be a PCR index from 0 to 23`);
    return 0;
  };
}
