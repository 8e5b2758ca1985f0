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
  const bound = withAbsentContent(parameters, binds);
  // Worked out for the first policy that reads what is open, if there is one.
  let exempt: ReadonlySet<string> | undefined;
  let targets: Targets | undefined;
  for (const policy of policies) {
    const open = openParameters(policy, parameters, bound);
    if (open.length === 0) continue;
    targets ??= targetsOf(parameters);
    exempt ??= new Set(satisfied.flatMap(({ annotations }) => annotations.unboundParameters));
    if (areExempt(originsConcerned(policy, targets), exempt)) continue;
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
  const open: BoundParameter[] = [];
  for (const parameter of dependence.request) if (!bound.has(parameter)) open.push(parameter);
  if (operation !== 'raw') return open;
  for (const parameter of dependence.document) if (!bound.has(parameter)) open.push(parameter);
  return open;
}

/** Of none, nothing has to be exempt. */
function areExempt(origins: readonly string[], exempt: ReadonlySet<string>): boolean {
  return origins.length === 0 || exempt.has('*') || origins.every((origin) => exempt.has(origin));
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
