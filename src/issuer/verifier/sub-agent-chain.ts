/** A sub-agent's request carries the chain that delegates to it: what that must say (check 27). */
import { audiencesCover } from '../../delegation/audience.ts';
import { verifyChain, type Chain, type ChainRules } from '../../delegation/chain.ts';
import { DELEGATION_DETAIL, readClientId } from '../../delegation/claims.ts';
import { authorityFault } from '../../delegation/narrowing.ts';
import type { CredentialRequest } from '../../wire/issuance/issue.ts';
import { asKeydError, KeydError } from '../../wire/problem.ts';
import type { HostGrant } from '../host-grant.ts';

/** Whose chains count: those below the grant of this host that is in force. */
export interface SubAgentRules extends ChainRules {
  /** `jti` of the host's DT₀s. */
  readonly grantId: string;
  readonly terms: HostGrant;
}

/**
 * The verified chain of a request for a sub-agent.
 * @param rules undefined where nothing is granted on this host
 * @throws KeydError `name_not_permitted`
 */
export function checkSubAgentChain(
  hostLabel: string,
  request: CredentialRequest,
  rules: SubAgentRules | undefined,
): Chain {
  if (rules === undefined) return deny(`${hostLabel} has no grant that its agents could delegate`);
  let chain: Chain;
  try {
    chain = verifyChain(request.chain ?? [], rules);
  } catch (thrown) {
    throw new KeydError('name_not_permitted', `the chain does not verify: ${asKeydError(thrown).message}`, {
      cause: thrown,
    });
  }
  // Skew between clocks forgives a link that begins late; credentials of no life would help nobody.
  if (chain.expiresAtSeconds <= rules.nowSeconds) return deny('the chain has expired');
  const fault = grantFault(chain, rules) ?? nameFault(chain, hostLabel, request);
  return fault === undefined ? chain : deny(fault);
}

/** DT₀ may be of a while ago; it must not give more than the record does now. */
function grantFault({ root }: Chain, { grantId, terms }: SubAgentRules): string | undefined {
  const { claims } = root;
  if (claims.jti !== grantId) return 'the chain is not of the grant in force on this host';
  const inForce = {
    ...claims,
    authorization_details: [
      { type: DELEGATION_DETAIL, scopes: terms.scopes, constraints: terms.constraints } as const,
    ],
  };
  const isWider =
    authorityFault(inForce, claims) !== undefined ||
    claims.del_max_depth > terms.maxDepth ||
    claims.aud.some((audience) => !audiencesCover(terms.audiences, audience));
  return isWider
    ? 'the grant has become narrower since its DT0: fetch the root agent’s credentials anew'
    : undefined;
}

/** Names below the root follow from the chain's own rules, and with them that nobody else's host is in it. */
function nameFault({ leaf }: Chain, hostLabel: string, { name }: CredentialRequest): string | undefined {
  const holder = readClientId(leaf.claims.client_id);
  if (holder?.host !== hostLabel) return `the chain is of another host than ${hostLabel}`;
  return holder.agent === name ? undefined : `the chain delegates to ${holder.agent}, not to ${name}`;
}

function deny(reason: string): never {
  throw new KeydError('name_not_permitted', reason);
}
