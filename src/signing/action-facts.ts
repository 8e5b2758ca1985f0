/** What a chain of delegations reads of a proposal: only what the proof carries, and nothing that is not exact. */
import type { ActionFacts, ActionValue } from '../delegation/action.ts';
import type { Charge } from '../policy/counters.ts';
import type { HttpMessageParameters, Proposal } from '../policy/proposal.ts';
import { ExactNumber } from '../wire/exact-number.ts';
import { KeydError } from '../wire/problem.ts';
import { MAX_BODY_OCTETS } from '../wire/socket/signing.ts';
import { parseExactJson, type ExactJson } from '../wire/strict-json.ts';

const MAX_BODY_DEPTH = 32;
const NOTHING: ActionValue = { kind: 'none' };

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
        query: (name) => new URLSearchParams(target.query ?? '').getAll(name),
        body: bodyReader(parameters),
      };
    }
    case 'dpop': {
      const { method, target } = parameters;
      return { ...common, audiences: [target.origin], method, path: target.path };
    }
    case 'jwt':
      return { ...common, audiences: parameters.audience };
    case 'delegate':
      return { ...common, audiences: parameters.audiences };
    case 'csr':
    case 'raw':
      return { ...common, audiences: [] };
  }
}

function spends(charges: readonly Charge[]): ReadonlyMap<string, bigint> {
  const total = new Map<string, bigint>();
  for (const charge of charges) {
    if (charge.kind === 'budget') total.set(charge.unit, (total.get(charge.unit) ?? 0n) + charge.amount);
  }
  return total;
}

/** Members of a body that is JSON by its type and by every octet; of any other there is nothing to read (S7). */
function bodyReader({
  content,
  headers,
  mediaType,
}: HttpMessageParameters): (pointer: string) => ActionValue {
  const isEncoded = headers.some(([name]) => name === 'content-encoding');
  if (content.kind !== 'octets' || mediaType !== 'application/json' || isEncoded) return () => NOTHING;
  let document: ExactJson | undefined;
  try {
    document = parseExactJson(content.octets, { maxDepth: MAX_BODY_DEPTH, maxOctets: MAX_BODY_OCTETS });
  } catch (thrown) {
    if (!(thrown instanceof KeydError)) throw thrown;
    return () => NOTHING;
  }
  return (pointer) => valueOf(document, pointer);
}

/** The value at a JSON Pointer (RFC 6901); arrays and objects have none that a constraint compares. */
function valueOf(document: ExactJson, pointer: string): ActionValue {
  let value: ExactJson | undefined = document;
  for (const token of pointer.split('/').slice(1)) {
    const member = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || value instanceof ExactNumber) return NOTHING;
    if (Array.isArray(value)) {
      value = /^(?:0|[1-9][0-9]{0,8})$/.test(member)
        ? (value as readonly ExactJson[])[Number(member)]
        : undefined;
    } else {
      const members: Readonly<Record<string, ExactJson>> = value as never;
      value = Object.hasOwn(members, member) ? members[member] : undefined;
    }
  }
  if (typeof value === 'string') return { kind: 'text', text: value };
  if (typeof value === 'boolean') return { kind: 'boolean', value };
  // -0 and negative amounts are equal to nothing and below everything (S7).
  if (value instanceof ExactNumber && !value.negative) return { kind: 'number', text: value.text };
  return NOTHING;
}
