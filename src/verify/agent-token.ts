import { AGENT_TOKEN_DWK, AGENT_TOKEN_TYP } from '../wire/credential-claims.ts';
import { decodeJwt } from '../wire/jws.ts';
import { KeydError } from '../wire/problem.ts';
import { verifyConfirmedToken, type ConfirmedToken } from './confirmed-token.ts';
import type { TrustedKey } from './trusted-keys.ts';
import type { TokenClock } from './wit.ts';

/** An AAuth agent provider that a relying party pins. */
export interface AgentTokenIssuer {
  /** Compared octet for octet with `iss`. */
  readonly issuer: string;
  /** The part after "@" in its agents' identifiers. */
  readonly domain: string;
  /** Its agent token keys; keys for other purposes do not belong here (S14). */
  readonly keys: readonly TrustedKey[];
}

/** `aauth:local@domain`; letters are allowed in the local part since draft -11. */
const AGENT_ID = /^aauth:([A-Za-z0-9._+-]{1,255})@([a-z0-9.-]{1,253})$/;

/**
 * Verifies an AAuth agent token (`aa-agent+jwt`) under the pinned keys of the issuer it names; an issuer that is
 * not pinned is refused, and nothing is fetched.
 * @throws KeydError `malformed_jws`, `verification_failed`, `signature_invalid`
 */
export function verifyAgentToken(
  text: string,
  issuers: readonly AgentTokenIssuer[],
  clock: TokenClock,
): ConfirmedToken {
  // The unverified iss only picks among pinned issuers; the keys that count are theirs.
  const iss = decodeJwt(text).claims['iss'];
  const issuer = issuers.find((candidate) => candidate.issuer === iss);
  if (issuer === undefined) return refuse('is from an issuer that is not trusted here');
  const token = verifyConfirmedToken(text, {
    what: 'the agent token',
    typ: AGENT_TOKEN_TYP,
    keys: issuer.keys,
    ...clock,
  });
  if (token.claims['dwk'] !== AGENT_TOKEN_DWK) refuse(`has not the dwk ${AGENT_TOKEN_DWK}`);
  const [, local, domain] = AGENT_ID.exec(token.subject) ?? [];
  if (local === undefined || domain !== issuer.domain) {
    return refuse(`has a sub that is no agent of ${issuer.domain}`);
  }
  checkParent(token.claims['parent_agent'], local, domain);
  if (typeof token.claims['jti'] !== 'string') refuse('has no jti');
  return token;
}

/**
 * A sub-agent is named `<parent>+<name>` and says whose it is; AAuth knows one level of them. Who serves an agent
 * and not those it makes can tell by the claim.
 */
function checkParent(parent: unknown, local: string, domain: string): void {
  const [above = '', ...below] = local.split('+');
  if (below.length === 0) {
    if (parent !== undefined) refuse('has a parent_agent, and its sub is no sub-agent');
    return;
  }
  if (below.length > 1 || below.includes('') || above === '') refuse('has a sub that AAuth does not know');
  if (parent !== `aauth:${above}@${domain}`) refuse('has not the parent_agent that its sub is named after');
}

function refuse(reason: string): never {
  throw new KeydError('verification_failed', `the agent token ${reason}`);
}
