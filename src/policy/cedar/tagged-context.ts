/** Context attributes that refer to an entity with tags (DECISIONS 20). */
import type { ExactNumber } from '../../wire/exact-number.ts';
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { DecisionFacts, JudgedParameters } from '../verdict.ts';
import type { RequestDocuments } from './documents.ts';
import { cedarDecimal, exactNumber, NO_MEMBERS, type LeafValue } from './members.ts';
import { targetOf } from './plain-context.ts';
import type { Tagged } from './reads.ts';

/** The entity type of each, as the schema has it. */
export const TAGGED_TYPES = {
  body: 'Members',
  query: 'Members',
  claims: 'Members',
  headers: 'Headers',
  pathSegments: 'PathSegments',
  budgets: 'Budgets',
  allocations: 'Budgets',
} as const satisfies Readonly<Record<Tagged, string>>;

/** What stands in the entity that the context refers to. */
export interface TaggedValue {
  readonly attributes: () => Record<string, CedarValueJson>;
  /** Undefined where there is no such tag. @param asDecimal whether a number is wanted as one */
  readonly tag: (name: string, asDecimal: boolean) => CedarValueJson | undefined;
}

/** Undefined where the operation has no such attribute. */
export function taggedValue(
  name: Tagged,
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
  }
}

/** An unreadable document shows nothing: whoever reads it was denied before. */
function members(name: 'body' | 'query' | 'claims', documents: RequestDocuments): TaggedValue {
  const document = documents.get(name);
  const { leaves } = 'leaves' in document ? document : NO_MEMBERS;
  return {
    attributes: () => ({ members: [...leaves.keys()] }),
    tag: (pointer, asDecimal) => {
      const leaf = leaves.get(pointer);
      if (leaf === undefined) return undefined;
      return cedarLeaf(leaf, asDecimal ? exactNumber(leaf, name === 'query') : undefined);
    },
  };
}

function cedarLeaf(leaf: LeafValue, number: ExactNumber | undefined): CedarValueJson {
  const decimal = number === undefined ? undefined : cedarDecimal(number);
  const shown: Record<string, CedarValueJson> = {};
  if (leaf.kind === 'text') shown['s'] = leaf.value;
  if (decimal !== undefined) shown['n'] = { __extn: { fn: 'decimal', arg: decimal } };
  if (leaf.kind === 'boolean') shown['b'] = leaf.value;
  return shown;
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
    attributes: () => ({}),
    tag: (name) => {
      const values = UNSHOWN_HEADERS.has(name) ? [] : lines.filter(([given]) => given === name);
      return values.length === 0 ? undefined : values.map(([, value]) => value).join(', ');
    },
  };
}

function pathSegments(path: string): TaggedValue {
  const segments = path.slice(1).split('/');
  return {
    attributes: () => ({ count: segments.length }),
    tag: (name) => (String(Number(name)) === name ? segments[Number(name)] : undefined),
  };
}

function budgets(amounts: readonly (readonly [unit: string, amount: bigint])[]): TaggedValue {
  return {
    attributes: () => ({ units: amounts.map(([unit]) => unit) }),
    tag: (name) => {
      const found = amounts.findLast(([unit]) => unit === name);
      return found === undefined ? undefined : clamp(found[1]);
    },
  };
}

const MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** As a JavaScript number reaches Cedar; more than 2^53-1 is said as 2^53-1. */
function clamp(amount: bigint): number {
  if (amount > MAX) return Number(MAX);
  return amount < -MAX ? -Number(MAX) : Number(amount);
}
