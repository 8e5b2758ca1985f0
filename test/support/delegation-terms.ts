/** Random terms of a chain's tokens, narrower ones, and every way in which one member of them can be wider. */
import {
  constraintType,
  constraintValue,
  CONSTRAINT_TYPES,
  type Constraint,
  type ConstraintType,
  type ConstraintValue,
} from '../../src/delegation/constraint.ts';
import { audiencesCover } from '../../src/delegation/audience.ts';
import { scopesCover } from '../../src/delegation/scope.ts';
import { CHAIN_NOW, clientIdAt, PRINCIPAL, type TokenTerms } from './delegation-chain.ts';
import type { SeededRandom } from './seeded-random.ts';

export type Terms = Required<
  Pick<TokenTerms, 'aud' | 'constraints' | 'exp' | 'iat' | 'maxDepth' | 'scopes'>
> &
  TokenTerms;

const AUDIENCES = [
  'https://a.example',
  'https://b.example',
  'https://c.example:8443',
  'http://localhost:9000',
];
const WORDS = ['read', 'write', 'pay', 'x-1', 'Y_2'];
const METHODS = ['GET', 'POST', 'PUT', 'DELETE'];
const SCALARS = ['bob', 'eve', '', '1', 1, 0, -5, true, false];

/** One for each key and type that there is. */
const KINDS: readonly {
  readonly key: string;
  readonly type: ConstraintType;
  readonly value: (random: SeededRandom) => ConstraintValue;
}[] = [
  { key: 'spend.USD.2', type: 'max', value: (random) => random.integer(0, 1_000_000) },
  { key: 'spend.USD.2', type: 'max_subtree', value: (random) => random.integer(0, 1_000_000) },
  { key: 'spend.GBP.6', type: 'max_subtree', value: (random) => random.integer(0, 9) },
  { key: 'calls', type: 'max_lifetime', value: (random) => random.integer(0, 50) },
  { key: 'operation', type: 'in', value: (random) => random.nonEmpty(['http-message', 'dpop', 'delegate']) },
  { key: 'method', type: 'in', value: (random) => random.nonEmpty(METHODS) },
  { key: 'media_type', type: 'in', value: (random) => random.nonEmpty(['application/json', 'text/plain']) },
  { key: 'path', type: 'prefix', value: (random) => random.pick(['/', '/a', '/a/b', '/v1/', '/v1/pay/x']) },
  { key: 'path', type: 'in', value: (random) => random.nonEmpty(['/a/b', '/v1/pay', '/v1/pay/x']) },
  { key: 'query:to', type: 'equals', value: (random) => random.pick(['bob', 'eve', '']) },
  { key: 'query:to', type: 'in', value: (random) => random.nonEmpty(['bob', 'eve', '']) },
  { key: 'body:/payee', type: 'equals', value: (random) => random.pick(SCALARS) },
  { key: 'body:/payee', type: 'in', value: (random) => random.nonEmpty(SCALARS) },
  {
    key: 'body:/amount',
    type: 'max',
    value: (random) => `${random.integer(0, 5000)}.${String(random.integer(0, 99)).padStart(2, '0')}`,
  },
];

export function rootTerms(random: SeededRandom, depth: number): Terms {
  return {
    scopes: random.chance(0.2)
      ? ['*']
      : Array.from({ length: random.integer(0, 4) }, () => randomScope(random)),
    aud: random.chance(0.3) ? ['*'] : random.nonEmpty(AUDIENCES),
    constraints: KINDS.flatMap((kind) => (random.chance(0.5) ? [made(kind, kind.value(random))] : [])),
    maxDepth: random.integer(depth, 9),
    iat: CHAIN_NOW - random.integer(10, 100),
    exp: CHAIN_NOW + random.integer(100, 3000),
  };
}

/** Terms that give nothing which `parent` does not; `depth` more tokens fit below. */
export function narrowed(random: SeededRandom, parent: Terms, depth: number): Terms {
  const held = new Set(parent.constraints.map(nameOf));
  const more = KINDS.filter((kind) => !held.has(`${kind.key} ${kind.type}`) && random.chance(0.15));
  return {
    scopes: random.some(parent.scopes, 0.8).map((scope) => narrowedScope(random, scope)),
    aud:
      parent.aud.includes('*') && random.chance(0.5)
        ? random.nonEmpty(AUDIENCES)
        : random.nonEmpty(parent.aud),
    constraints: shuffled(random, [
      ...parent.constraints.map((constraint) => narrowedConstraint(random, constraint)),
      ...more.map((kind) => made(kind, kind.value(random))),
    ]),
    maxDepth: random.integer(depth, parent.maxDepth),
    iat: random.integer(parent.iat, CHAIN_NOW),
    exp: random.integer(CHAIN_NOW + 1, parent.exp),
  };
}

export interface Widening {
  readonly name: string;
  /** Of the verification, that refuses it. */
  readonly step: 3 | 4 | 5;
  /** `child` with one member wider than `parent`'s; undefined where there is no wider one. */
  widen(random: SeededRandom, parent: Terms, child: Terms, depth: number): Terms | undefined;
}

export const WIDENINGS: readonly Widening[] = [
  {
    name: 'scope',
    step: 4,
    widen(random, parent, child) {
      const wider = [
        randomScope(random),
        '*',
        'other',
        ...parent.scopes.map((scope) => `${scope.replace(/\.\*$/, '')}x`),
      ];
      const scope = random.pick(wider);
      return scopesCover(parent.scopes, scope)
        ? undefined
        : { ...child, scopes: insert(random, child.scopes, scope) };
    },
  },
  {
    name: 'audience',
    step: 5,
    widen(random, parent, child) {
      const audience = random.pick([...AUDIENCES, '*', 'https://evil.example']);
      return audiencesCover(parent.aud, audience)
        ? undefined
        : { ...child, aud: insert(random, child.aud, audience) };
    },
  },
  ...KINDS.map(({ key, type }): Widening => ({
    name: `${key} ${type}`,
    step: 4,
    widen(random, parent, child) {
      const bound = parent.constraints.find((each) => nameOf(each) === `${key} ${type}`);
      const wider = bound === undefined ? undefined : widerValue(random, type, constraintValue(bound));
      return wider === undefined
        ? undefined
        : {
            ...child,
            constraints: child.constraints.map((each) =>
              nameOf(each) === `${key} ${type}` ? made({ key, type }, wider) : each,
            ),
          };
    },
  })),
  ...CONSTRAINT_TYPES.map((type): Widening => ({
    name: `a ${type} left out`,
    step: 4,
    widen(random, parent, child) {
      const bounds = parent.constraints.filter((each) => constraintType(each) === type);
      if (bounds.length === 0) return undefined;
      const gone = nameOf(random.pick(bounds));
      return { ...child, constraints: child.constraints.filter((each) => nameOf(each) !== gone) };
    },
  })),
  {
    name: 'depth',
    step: 3,
    widen: (random, _, child, depth) => ({
      ...child,
      claims: { del_depth: depth + random.pick(depth === 1 ? [-1, 1, 2] : [-1, 1, 2, -2]) },
    }),
  },
  {
    name: 'greatest depth',
    step: 3,
    widen: (random, parent, child) => ({ ...child, maxDepth: parent.maxDepth + random.integer(1, 9) }),
  },
  {
    name: 'end',
    step: 5,
    widen: (random, parent, child) => ({ ...child, exp: parent.exp + random.pick([1, 60, 100_000]) }),
  },
  {
    name: 'beginning',
    step: 5,
    widen: (random, parent, child) => ({ ...child, iat: parent.iat - random.integer(1, 100) }),
  },
  {
    name: 'principal',
    step: 3,
    widen: (random, _, child) => ({
      ...child,
      claims: { sub: random.pick([`${PRINCIPAL}x`, PRINCIPAL.slice(0, -1), 'user:bob']) },
    }),
  },
  {
    name: 'name',
    step: 3,
    widen: (random, _, child, depth) => ({
      ...child,
      claims: {
        client_id: random.pick([clientIdAt(depth - 1), clientIdAt(depth + 1), `${clientIdAt(depth - 1)}x/b`]),
      },
    }),
  },
];

function randomScope(random: SeededRandom): string {
  const words = Array.from({ length: random.integer(1, 3) }, () => random.pick(WORDS)).join('.');
  return random.chance(0.4) ? `${words}.*` : words;
}

function narrowedScope(random: SeededRandom, scope: string): string {
  if (!scope.endsWith('*') || random.chance(0.3)) return scope;
  return `${scope.slice(0, -1)}${randomScope(random)}`;
}

function narrowedConstraint(random: SeededRandom, constraint: Constraint): Constraint {
  const { key } = constraint;
  const type = constraintType(constraint);
  return made({ key, type }, narrowedValue(random, type, constraintValue(constraint)));
}

function narrowedValue(random: SeededRandom, type: ConstraintType, value: ConstraintValue): ConstraintValue {
  if (Array.isArray(value))
    return shuffled(random, random.nonEmpty(value as readonly (string | number | boolean)[]));
  if (type === 'prefix') {
    const prefix = String(value);
    const below = `${prefix.endsWith('/') ? prefix : `${prefix}/`}${random.pick(WORDS)}`;
    return random.pick([prefix, below, `${below}/`]);
  }
  if (type === 'max' && typeof value === 'string') {
    const hundredths = random.integer(0, Math.round(Number(value) * 100));
    const text = (hundredths / 100).toFixed(2);
    // Another spelling of the same value, and none.
    return random.pick([text, `${text}0`, `${hundredths}e-2`, value]);
  }
  return typeof value === 'number' && type !== 'equals' ? random.integer(0, value) : value;
}

function widerValue(
  random: SeededRandom,
  type: ConstraintType,
  value: ConstraintValue,
): ConstraintValue | undefined {
  if (Array.isArray(value)) {
    const list = value as readonly (string | number | boolean)[];
    // Of texts a text, or it would be no constraint at all; a path where they are paths.
    const other = list.every((item) => String(item).startsWith('/')) ? '/other' : 'other';
    return insert(random, random.some(list), other);
  }
  switch (type) {
    case 'prefix': {
      const prefix = String(value);
      const wider = ['/', '/other', prefix.endsWith('/') ? prefix.slice(0, -1) : `${prefix}x`];
      const found = wider.filter((each) => each !== '' && prefix !== '/' && each !== prefix);
      return found.length === 0 ? undefined : random.pick(found);
    }
    case 'equals':
      return typeof value === 'string' ? `${value}x` : random.pick(SCALARS.filter((each) => each !== value));
    case 'max':
      if (typeof value === 'string') {
        return random.pick(
          [`${value}1`, `${value}000000000000001`, `${Number(value) + 1}`, `${value}e1`, '1e9'].filter(
            (each) => each.length <= 20 && Number(each) > Number(value),
          ),
        );
      }
      return Number(value) + random.pick([1, 1000]);
    default:
      return Number(value) + random.pick([1, 1000]);
  }
}

function nameOf(constraint: Constraint): string {
  return `${constraint.key} ${constraintType(constraint)}`;
}

function made(
  { key, type }: { readonly key: string; readonly type: ConstraintType },
  value: ConstraintValue,
): Constraint {
  return { key, [type]: value };
}

function insert<T>(random: SeededRandom, items: readonly T[], item: T): readonly T[] {
  const at = random.integer(0, items.length);
  return [...items.slice(0, at), item, ...items.slice(at)];
}

function shuffled<T>(random: SeededRandom, items: readonly T[]): readonly T[] {
  return items.reduce<readonly T[]>((mixed, item) => insert(random, mixed, item), []);
}
