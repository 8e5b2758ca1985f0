/** What a chain of delegations reads of a proposal: only what the proof carries, and nothing that is not exact. */
import type { ActionFacts } from '../delegation/action.ts';
import { bodyReader, queryReader, type RequestContent } from '../delegation/request-facts.ts';
import type { Charge } from '../policy/counters.ts';
import type { HttpMessageParameters, JwtParameters, Proposal } from '../policy/proposal.ts';
import { WPT_TYP } from '../wire/credential-claims.ts';
import { parseTargetUri } from '../wire/target-uri.ts';

/**
 * @param scopes what policy says the action needs
 * @param charges what policy says it costs
 */
export function actionFacts(
  { parameters }: Proposal,
  scopes: readonly string[],
  charges: readonly Charge[],
): ActionFacts {
  const common = { operation: parameters.operation, scopes, spends: spends(charges) };
  switch (parameters.operation) {
    case 'http-message': {
      const { method, target, mediaType } = parameters;
      return {
        ...common,
        audiences: [target.origin],
        method,
        path: target.path,
        mediaType,
        // Read only if a constraint asks.
        query: (name) => queryReader(target)(name),
        body: bodyReader(contentOf(parameters)),
      };
    }
    case 'dpop': {
      const { method, target } = parameters;
      return { ...common, audiences: [target.origin], method, path: target.path };
    }
    case 'jwt':
      return { ...common, ...jwtTarget(parameters) };
    case 'delegate':
      return { ...common, audiences: parameters.audiences };
    case 'csr':
    case 'raw':
      return { ...common, audiences: [] };
  }
}

/** A Workload Proof Token is for one URI; of other types only an audience that is an origin can be compared. */
function jwtTarget({ audience, typ }: JwtParameters): Pick<ActionFacts, 'audiences' | 'path'> {
  const [only] = audience;
  if (typ !== WPT_TYP || only === undefined) return { audiences: audience };
  const { origin, path } = parseTargetUri(only);
  return { audiences: [origin], path };
}

function spends(charges: readonly Charge[]): ReadonlyMap<string, bigint> {
  const total = new Map<string, bigint>();
  for (const charge of charges) {
    if (charge.kind === 'budget') total.set(charge.unit, (total.get(charge.unit) ?? 0n) + charge.amount);
  }
  return total;
}

function contentOf({ content, headers, mediaType }: HttpMessageParameters): RequestContent {
  return {
    mediaType,
    isEncoded: headers.some(([name]) => name === 'content-encoding'),
    octets: content.kind === 'octets' ? content.octets : undefined,
  };
}
