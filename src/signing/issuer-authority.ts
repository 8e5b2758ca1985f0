import type { TargetUri } from '../wire/target-uri.ts';
import { KeydError } from '../wire/problem.ts';

/**
 * Refuses requests to the issuer: the host key speaks with it, and nothing an agent signs may look like that (S1).
 * @throws KeydError `issuer_authority`
 */
export function refuseIssuer(target: TargetUri, issuerAuthorities: readonly string[]): void {
  if (issuerAuthorities.includes(target.authority)) {
    throw new KeydError(
      'issuer_authority',
      `${target.authority} is the issuer; agents do not sign requests to it`,
    );
  }
}
