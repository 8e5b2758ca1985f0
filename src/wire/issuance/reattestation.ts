/** Message B: a fresh quote for a standing that ends. Requests are signed by the host key. */
import { object, type Infer } from '../check.ts';
import { canonicalJson } from '../jcs.ts';
import { akId, compactJws, pcrSelectionJson, quoteEvidence, sessionId } from './evidence.ts';
import { logEvidenceMembers, witnessMember } from './log-evidence.ts';

export const REATTEST_CHALLENGE_PATH = '/v1/attest/challenge';

export const reattestRequest = object({ akId });
export type ReattestRequest = Infer<typeof reattestRequest>;

export const reattestChallenge = object({
  session: sessionId,
  challenge: compactJws,
  pcrSelection: pcrSelectionJson,
  ...witnessMember,
});
export type ReattestChallenge = Infer<typeof reattestChallenge>;

/** Sent to the evidence path of enrolment; the session tells the two apart. */
export const reattestEvidence = object({
  session: sessionId,
  quote: quoteEvidence,
  ...logEvidenceMembers,
});
export type ReattestEvidence = Infer<typeof reattestEvidence>;

/** What a re-attestation quote vouches for, JCS. */
export function reattestationBound(ak: string, session: string): Uint8Array {
  return Buffer.from(canonicalJson({ akId: ak, session }));
}
