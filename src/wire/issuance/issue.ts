/** Message C: credentials for one key. Requests are signed by the host key. */
import { createHash } from 'node:crypto';
import { array, integer, object, octets, oneOf, optional, text, type Infer, type Shape } from '../check.ts';
import { canonicalJson } from '../jcs.ts';
import { parsePublicJwk, type PublicJwk } from '../jwk.ts';
import { toJson } from '../json-octets.ts';
import { KeydError } from '../problem.ts';
import { akId, certifiedKey, compactJws, pcrSelectionJson, quoteEvidence, sessionId } from './evidence.ts';
import { logEvidenceMembers, witnessMember } from './log-evidence.ts';

export const ISSUE_CHALLENGE_PATH = '/v1/issue/challenge';
export const ISSUE_PATH = '/v1/issue';

export const CREDENTIAL_KINDS = ['x509', 'wit', 'aauth'] as const;
export type CredentialKind = (typeof CREDENTIAL_KINDS)[number];

/** What is asked for. It is bound into the evidence, so it can not be changed on the way. */
export const credentialRequest = object({
  agentId: text({ maxLength: 36, pattern: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, what: 'a UUID' }),
  name: text({ maxLength: 255 }),
  creds: array(oneOf(CREDENTIAL_KINDS), { min: 1, max: 3 }),
  ttlSeconds: integer({ min: 60, max: 86_400 }),
  /** Of a sub-agent: the tokens that delegate to it, compact, DT₀ first. */
  chain: optional(array(compactJws, { min: 2, max: 10 })),
});
export type CredentialRequest = Infer<typeof credentialRequest>;

export const issueChallengeRequest = object({ akId, req: credentialRequest });
export type IssueChallengeRequest = Infer<typeof issueChallengeRequest>;

export const issueChallenge = object({
  session: sessionId,
  challenge: compactJws,
  /** Whether a new quote is wanted or the standing's counts. */
  quote: oneOf(['required', 'reuse']),
  pcrSelection: pcrSelectionJson,
  ...witnessMember,
});
export type IssueChallenge = Infer<typeof issueChallenge>;

const publicJwk: Shape<PublicJwk> = (value, path, faults) => {
  try {
    return parsePublicJwk(value, path);
  } catch (thrown) {
    if (!(thrown instanceof KeydError)) throw thrown;
    faults.push(thrown.message);
    return undefined as never;
  }
};

/** A key in a PKCS#11 token: no evidence, only the attested host's word about a token that an operator registered. */
export const tokenKey = object({
  jwk: publicJwk,
  token: object({
    manufacturer: text({ maxLength: 32 }),
    model: text({ maxLength: 16 }),
    serial: text({ maxLength: 16 }),
  }),
});
export type TokenKey = Infer<typeof tokenKey>;

/** M7: exactly one of `tpmKey` and `tokenKey`. */
export const issueRequest = object({
  session: sessionId,
  tpmKey: optional(certifiedKey),
  tokenKey: optional(tokenKey),
  /** PKCS#10, DER: its signature is the proof of possession. */
  csr: octets({ min: 1, max: 8192 }),
  quote: optional(quoteEvidence),
  ...logEvidenceMembers,
});
export type IssueRequest = Infer<typeof issueRequest>;

/** M8. Members are absent where `creds` did not ask for them. */
export const issuedCredentials = object({
  /** Leaf first, PEM. */
  x509: optional(array(text({ maxLength: 16_384 }), { min: 1, max: 8 })),
  wit: optional(compactJws),
  agentToken: optional(compactJws),
  ear: compactJws,
  /** Root grant DT₀ (from the authority issue on). */
  grant: optional(compactJws),
  assurance: oneOf(['hw-platform', 'hw-key', 'asserted', 'software']),
  developmentPolicy: optional(text({ maxLength: 128 })),
  spiffeId: text({ maxLength: 2048 }),
  aauthId: optional(text({ maxLength: 512 })),
  expiresAtSeconds: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  renewAtSeconds: integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
});
export type IssuedCredentials = Infer<typeof issuedCredentials>;

/**
 * What issuance evidence vouches for, JCS: the request, the key and the CSR. The same octets go into
 * Certify (`issue-certify`) and Quote (`issue-quote`).
 *
 * @param key TPMT_PUBLIC of the key, or its JWK where a token holds it
 */
export function issueBound(req: CredentialRequest, key: Uint8Array | PublicJwk, csr: Uint8Array): Uint8Array {
  const csrSha256 = createHash('sha256').update(csr).digest();
  return Buffer.from(canonicalJson(toJson({ req, key, csrSha256 })));
}
