/** S3: the weakest proof does not win. */
import { parseTargetUri } from '../../wire/target-uri.ts';
import { KeydError } from '../../wire/problem.ts';
import type { BoundParameter, SigningParameters } from '../proposal.ts';
import type { CompiledPolicy } from './compile-policy.ts';
import type { Denial } from './denial.ts';
import { concernsOrigin, type OriginParts } from './pins.ts';
import { SIGN_ACTIONS } from './schema.ts';

export interface Proof {
  readonly parameters: SigningParameters;
  readonly binds: ReadonlySet<BoundParameter>;
}

/**
 * Why the proof may not be made although permits are satisfied, or undefined: some policy for this agent and target
 * reads what the proof leaves open.
 * @param policies all that cover the agent, for any caller and action
 */
export function unboundDenial(
  { parameters, binds }: Proof,
  policies: readonly CompiledPolicy[],
  satisfied: readonly CompiledPolicy[],
): Denial | undefined {
  if (!(SIGN_ACTIONS as readonly string[]).includes(parameters.operation)) return undefined;
  const exempt = new Set(satisfied.flatMap(({ annotations }) => annotations.unboundParameters));
  const bound = withAbsentContent(parameters, binds);
  const targets = targetsOf(parameters);
  for (const policy of policies) {
    const open = openParameters(policy, parameters, bound);
    if (open.length === 0) continue;
    const origins = originsConcerned(policy, targets);
    if (origins.length === 0 || origins.every((origin) => exempt.has('*') || exempt.has(origin))) continue;
    return {
      code: 'unbound_parameters',
      policies: [policy.id],
      reason: `the policy ${policy.id} reads ${open.join(', ')}, which a proof of the type ${parameters.operation} does not bind here`,
    };
  }
  return undefined;
}

function openParameters(
  { dependence }: CompiledPolicy,
  { operation }: SigningParameters,
  bound: ReadonlySet<BoundParameter>,
): readonly BoundParameter[] {
  // Raw octets may be any document; a typed proof is never another's.
  const relevant =
    operation === 'raw' ? [...dependence.request, ...dependence.document] : [...dependence.request];
  return relevant.filter((parameter) => !bound.has(parameter));
}

/**
 * GET and HEAD have no content that anything is done by (RFC 9110 §9.3.1): that there is none is bound with the
 * method. A POST without content could get one later.
 */
function withAbsentContent(
  parameters: SigningParameters,
  binds: ReadonlySet<BoundParameter>,
): ReadonlySet<BoundParameter> {
  if (parameters.operation !== 'http-message' || parameters.content.kind !== 'none') return binds;
  if (!binds.has('method') || !['GET', 'HEAD'].includes(parameters.method)) return binds;
  return new Set<BoundParameter>([...binds, 'body', 'header:content-type']);
}

/** `anywhere`: nothing in the proof says where it is used. */
type Targets = readonly OriginParts[] | 'anywhere';

function targetsOf(parameters: SigningParameters): Targets {
  switch (parameters.operation) {
    case 'http-message':
    case 'dpop':
      return [parameters.target];
    case 'jwt': {
      const targets = parameters.audience.map(originOf);
      const known = targets.filter((target) => target !== undefined);
      return known.length === 0 || known.length < targets.length ? 'anywhere' : known;
    }
    default:
      return 'anywhere';
  }
}

function originOf(audience: string): OriginParts | undefined {
  for (const text of [audience, `${audience}/`]) {
    try {
      return parseTargetUri(text);
    } catch (thrown) {
      if (!(thrown instanceof KeydError)) throw thrown;
    }
  }
  return undefined;
}

/** The origins for which the proof would have to be excused; `*` where they are not known. */
function originsConcerned({ pins }: CompiledPolicy, targets: Targets): readonly string[] {
  if (targets !== 'anywhere') {
    return targets.filter((target) => concernsOrigin(pins, target)).map(({ origin }) => origin);
  }
  const pinned = pins.get('origin');
  return pinned === undefined ? ['*'] : [...pinned].map(String);
}
