/** Context attributes that refer to an entity with tags (DECISIONS 20). */
import type { ExactNumber } from '../../wire/exact-number.ts';
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { DecisionFacts, JudgedParameters } from '../verdict.ts';
import { defined } from './attributes.ts';
import type { RequestDocuments } from './documents.ts';
import { cedarDecimal, exactNumber, type LeafValue } from './members.ts';
import { targetOf } from './plain-context.ts';

type Tags = ReadonlyMap<string, CedarValueJson>;

/** What stands in the context and what in the entity it refers to. */
export interface TaggedValue {
  readonly type: 'Members' | 'Headers' | 'PathSegments' | 'Budgets';
  readonly attributes: () => Record<string, CedarValueJson>;
  readonly tags: (wanted: ReadonlySet<string>, decimals: ReadonlySet<string>) => Tags;
}

/** Undefined where the operation has no such attribute. */
export function taggedValue(
  name: string,
  parameters: JudgedParameters,
  facts: DecisionFacts,
  documents: RequestDocuments,
): TaggedValue | undefined {
  const { operation } = parameters;
  const target = targetOf(parameters);
  switch (name) {
    case 'body':
    case 'query':
      return operation === 'http-message' ? members(name, documents) : undefined;
    case 'claims':
      return operation === 'jwt' ? members(name, documents) : undefined;
    case 'headers':
      return operation === 'http-message' ? headers(parameters.headers) : undefined;
    case 'pathSegments':
      return target === undefined ? undefined : pathSegments(target.path);
    case 'budgets':
      return budgets(facts.budgets.map((it) => [it.unit, it.amount - it.spent - it.allocated] as const));
    case 'allocations':
      return operation === 'delegate'
        ? budgets(parameters.budgets.map(({ unit, amount }) => [unit, amount] as const))
        : undefined;
    default:
      return undefined;
  }
}

/** An unreadable document shows nothing: whoever reads it was denied before. */
function members(name: 'body' | 'query' | 'claims', documents: RequestDocuments): TaggedValue {
  const document = documents.get(name);
  const leaves: ReadonlyMap<string, LeafValue> = 'leaves' in document ? document.leaves : new Map();
  return {
    type: 'Members',
    attributes: () => ({ members: [...leaves.keys()] }),
    tags: (wanted, decimals) =>
      new Map(
        [...wanted].flatMap((pointer) => {
          const leaf = leaves.get(pointer);
          if (leaf === undefined) return [];
          const number = decimals.has(pointer) ? exactNumber(leaf, name === 'query') : undefined;
          return [[pointer, cedarLeaf(leaf, number)] as const];
        }),
      ),
  };
}

function cedarLeaf(leaf: LeafValue, number: ExactNumber | undefined): CedarValueJson {
  const decimal = number === undefined ? undefined : cedarDecimal(number);
  return defined({
    s: leaf.kind === 'text' ? leaf.value : undefined,
    n: decimal === undefined ? undefined : { __extn: { fn: 'decimal', arg: decimal } },
    b: leaf.kind === 'boolean' ? leaf.value : undefined,
  });
}

/** Fields whose values are secrets or the daemon's own; a policy that asks for one is refused. */
export const UNSHOWN_HEADERS = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'dpop',
  'agentkeyd-delegation',
]);

function headers(lines: readonly (readonly [string, string])[]): TaggedValue {
  return {
    type: 'Headers',
    attributes: () => ({}),
    tags: (wanted) =>
      new Map(
        [...wanted].flatMap((name) => {
          const values = UNSHOWN_HEADERS.has(name) ? [] : lines.filter(([given]) => given === name);
          return values.length === 0 ? [] : [[name, values.map(([, value]) => value).join(', ')] as const];
        }),
      ),
  };
}

function pathSegments(path: string): TaggedValue {
  const segments = path.slice(1).split('/');
  return {
    type: 'PathSegments',
    attributes: () => ({ count: segments.length }),
    tags: (wanted) =>
      new Map(
        [...segments.entries()].flatMap(([index, segment]) =>
          wanted.has(String(index)) ? [[String(index), segment] as const] : [],
        ),
      ),
  };
}

function budgets(amounts: readonly (readonly [unit: string, amount: bigint])[]): TaggedValue {
  return {
    type: 'Budgets',
    attributes: () => ({ units: amounts.map(([unit]) => unit) }),
    tags: (wanted) =>
      new Map(
        amounts.flatMap(([unit, amount]) => (wanted.has(unit) ? [[unit, clamp(amount)] as const] : [])),
      ),
  };
}

const MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** As a JavaScript number reaches Cedar; more than 2^53-1 is said as 2^53-1. */
function clamp(amount: bigint): number {
  if (amount > MAX) return Number(MAX);
  return amount < -MAX ? -Number(MAX) : Number(amount);
}
