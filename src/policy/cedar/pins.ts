/** Conjuncts that hold a policy to certain targets: where one fails, the policy is not about the request at all. */
import {
  attributePath,
  literal,
  literalSet,
  node,
  part,
  sides,
  type Conjunct,
  type Expression,
} from './expression.ts';

/** Context attributes that policies are pinned by. */
const PINNED = ['origin', 'scheme', 'host', 'port', 'method', 'path', 'profile', 'typ'] as const;
export type Pinned = (typeof PINNED)[number];

/** The values that each pinned attribute may have; an attribute without entry may have any. */
export type Pins = ReadonlyMap<Pinned, ReadonlySet<string | number>>;

/** From conjuncts `context.origin == "..."` (either way round) and `["...", ...].contains(context.origin)`. */
export function pinsOf(conjuncts: readonly Conjunct[]): Pins {
  const pins = new Map<Pinned, ReadonlySet<string | number>>();
  for (const { kind, body } of conjuncts) {
    const pin = kind === 'when' ? pinOf(body) : undefined;
    if (pin === undefined) continue;
    const before = pins.get(pin.attribute);
    pins.set(pin.attribute, new Set(pin.values.filter((value) => before?.has(value) !== false)));
  }
  return pins;
}

function pinOf(
  expression: Expression,
): { readonly attribute: Pinned; readonly values: readonly (string | number)[] } | undefined {
  const { operator, operand } = node(expression);
  if (operator === '==') {
    const both = sides(operand);
    if (both === undefined) return undefined;
    const [left, right] = both;
    return pin(left, literal(right)) ?? pin(right, literal(left));
  }
  if (operator !== 'contains') return undefined;
  const set = part(operand, 'left');
  const element = part(operand, 'right');
  const values = set === undefined ? undefined : literalSet(set);
  const attribute = element === undefined ? undefined : pinnedAttribute(element);
  if (attribute === undefined || values === undefined) return undefined;
  return { attribute, values: values.filter((value) => typeof value !== 'boolean') };
}

function pin(
  read: Expression,
  value: string | number | boolean | undefined,
): { attribute: Pinned; values: readonly (string | number)[] } | undefined {
  const attribute = pinnedAttribute(read);
  if (attribute === undefined || value === undefined || typeof value === 'boolean') return undefined;
  return { attribute, values: [value] };
}

function pinnedAttribute(expression: Expression): Pinned | undefined {
  const path = attributePath(expression);
  if (path?.length !== 2 || path[0] !== 'context') return undefined;
  return PINNED.find((attribute) => attribute === path[1]);
}

/** Whether the pins let a request of these values through; a value it does not have fails its pin. */
export function matchesPins(pins: Pins, value: (attribute: Pinned) => string | number | undefined): boolean {
  for (const [attribute, values] of pins) {
    const actual = value(attribute);
    if (actual === undefined || !values.has(actual)) return false;
  }
  return true;
}

/** Where a proof may be used. */
export interface OriginParts {
  readonly origin: string;
  readonly scheme: string;
  readonly host: string;
  readonly port: number;
}

/** Whether a policy with these pins could be about an origin, whatever method and path (S3). */
export function concernsOrigin(pins: Pins, target: OriginParts): boolean {
  return (['origin', 'scheme', 'host', 'port'] as const).every((attribute) => {
    const values = pins.get(attribute);
    return values === undefined || values.has(target[attribute]);
  });
}
