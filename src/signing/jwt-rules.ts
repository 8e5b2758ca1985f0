/** What `sign/jwt` never signs, whatever policy says (S1): types and claims that speak for the key or the issuer. */
import { KeydError } from '../wire/problem.ts';
import { normaliseTyp } from '../wire/typ.ts';

/** Types, normalised, and why they are reserved. */
const RESERVED_TYPES: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/^dpop\+jwt$/, 'DPoP proofs are made by sign/dpop'],
  [/^(?:wit|at|kb|txntoken|jkt-s256|statuslist)\+jwt$/, 'such tokens are issued, not made by agents'],
  [/^aa-/, 'AAuth tokens are issued, not made by agents'],
  [/^agentkey/, 'such tokens are made by agentkeyd itself'],
  [/attestation\+jwt$/, 'attestations are issued by those who appraise'],
  [/^(?:ear|eat)(?:[-+.]|$)/, 'Attestation Results are issued by the Verifier'],
  [/^(?:jwt|jose|jose\+json)$/, 'a type that names no use can be taken for any'],
];

/** Claims that give a key, an actor or authority; by the last, a reader that copies claims would inherit them all. */
const RESERVED_CLAIMS = new Set([
  'cnf',
  'act',
  'may_act',
  'par_hash',
  'authorization_details',
  'parent_agent',
  '__proto__',
]);

/**
 * The normalised type, if it is not reserved.
 * @throws KeydError `type_reserved`, `malformed_request`
 */
export function checkTyp(typ: string): string {
  const normal = normaliseTyp(typ);
  for (const [pattern, why] of RESERVED_TYPES) {
    if (pattern.test(normal)) throw new KeydError('type_reserved', `${normal} is never signed here: ${why}`);
  }
  return normal;
}

/** @throws KeydError `claim_reserved` */
export function checkClaimNames(claims: Readonly<Record<string, unknown>>): void {
  for (const name of Object.keys(claims)) {
    if (RESERVED_CLAIMS.has(name) || name.startsWith('del_')) {
      throw new KeydError('claim_reserved', `the claim ${name} is never signed here`);
    }
    if (name === 'jti') throw new KeydError('claim_reserved', 'jti is set by the daemon; leave it out');
  }
}
