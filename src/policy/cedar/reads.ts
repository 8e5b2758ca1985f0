/** What a policy reads of a request, found in its text: the ground of S3 and of building no more than is read. */
import { attributePath, children, literal, node, part, type Expression } from './expression.ts';

/** Context attributes whose content is read by tag: only the tags named are ever built. */
export const TAGGED = [
  'body',
  'query',
  'claims',
  'headers',
  'pathSegments',
  'budgets',
  'allocations',
] as const;
export type Tagged = (typeof TAGGED)[number];

export interface Reads {
  /** Attributes of the context: `method`, `time`, `body`. */
  readonly context: ReadonlySet<string>;
  /** Tags read of the tagged ones. */
  readonly tags: ReadonlyMap<Tagged, ReadonlySet<string>>;
  /** Tagged ones whose own attributes are read: `members`, `count`, `units`. */
  readonly whole: ReadonlySet<Tagged>;
  /** Tags whose number is read and whose text is not: where there is something else, it can not be judged. */
  readonly numbers: ReadonlyMap<Tagged, ReadonlySet<string>>;
  /** Tags whose number may be asked for at all: Cedar takes its time to make a decimal. */
  readonly decimals: ReadonlyMap<Tagged, ReadonlySet<string>>;
  /** Whether `context.time.now` may be asked for; a datetime is as dear as a decimal. */
  readonly instant: boolean;
  /** Attributes of the caller and of the agent. */
  readonly principal: ReadonlySet<string>;
  readonly resource: ReadonlySet<string>;
}

type TagSets = Map<Tagged, Set<string>>;

interface MutableReads {
  readonly context: Set<string>;
  readonly tags: TagSets;
  readonly whole: Set<Tagged>;
  readonly numbers: TagSets;
  readonly texts: TagSets;
  readonly decimals: TagSets;
  instant: boolean;
  readonly principal: Set<string>;
  readonly resource: Set<string>;
}

function empty(): MutableReads {
  return {
    context: new Set(),
    tags: new Map(),
    whole: new Set(),
    numbers: new Map(),
    texts: new Map(),
    decimals: new Map(),
    instant: false,
    principal: new Set(),
    resource: new Set(),
  };
}

/** What expressions read, and why that can not be told, one sentence each. */
export function readsOf(expressions: readonly Expression[]): {
  readonly reads: Reads;
  readonly faults: readonly string[];
} {
  const reads = empty();
  const faults: string[] = [];
  for (const expression of expressions) visit(expression, reads, faults);
  for (const [tagged, tags] of reads.texts) {
    const numbers = reads.numbers.get(tagged);
    if (numbers === undefined) continue;
    for (const tag of tags) numbers.delete(tag);
  }
  return { reads, faults };
}

/** All that any of them reads. */
export function mergeReads(all: readonly Reads[]): Reads {
  const merged = empty();
  for (const reads of all) {
    for (const set of ['context', 'principal', 'resource'] as const) {
      for (const name of reads[set]) merged[set].add(name);
    }
    for (const tagged of reads.whole) merged.whole.add(tagged);
    merged.instant ||= reads.instant;
    for (const sets of ['tags', 'numbers', 'decimals'] as const) {
      for (const [tagged, tags] of reads[sets]) for (const tag of tags) addTag(merged[sets], tagged, tag);
    }
  }
  return merged;
}

function visit(expression: Expression, reads: MutableReads, faults: string[]): void {
  const { operator, operand } = node(expression);
  if (operator === 'Var') {
    if (operand === 'context') faults.push('reads the context as a whole; name the attribute it reads');
    return;
  }
  if (operator === '.' || operator === 'has') {
    if (readAttribute(operator, operand, reads)) return;
  }
  if (operator === 'getTag' || operator === 'hasTag') {
    const tagged = taggedAttribute(part(operand, 'left'));
    const right = part(operand, 'right');
    const tag = right === undefined ? undefined : literal(right);
    if (tagged !== undefined && typeof tag === 'string') {
      reads.context.add(tagged);
      addTag(reads.tags, tagged, tag);
      if (operator === 'getTag') addTag(reads.decimals, tagged, tag);
      return;
    }
    faults.push('reads a tag that is not named by a literal; what it reads can not be told');
    return;
  }
  const whole = taggedAttribute(expression);
  if (whole !== undefined) faults.push(`uses context.${whole} as a value; read its tags or its attributes`);
  for (const child of children(expression)) visit(child, reads, faults);
}

/** Whether this was an attribute of a variable, or below one; anything else is visited further. */
function readAttribute(operator: string, operand: unknown, reads: MutableReads): boolean {
  const left = part(operand, 'left');
  const attribute = firstAttribute(operand);
  if (left === undefined || attribute === undefined) return false;
  const below = node(left);
  if (below.operator === 'Var') return readVariable(String(below.operand), attribute, operator, reads);
  const tagged = taggedAttribute(left);
  if (tagged !== undefined) {
    reads.context.add(tagged);
    reads.whole.add(tagged);
    return true;
  }
  if (attributePath(left)?.join('.') === 'context.time') {
    reads.context.add('time');
    reads.instant ||= attribute === 'now';
    return true;
  }
  return below.operator === 'getTag' && readValue(below.operand, attribute, reads);
}

function readVariable(variable: string, attribute: string, operator: string, reads: MutableReads): boolean {
  if (variable === 'context') {
    // `context.body` by itself is no use of it: the visit of what stands around it decides.
    if (operator === '.' && isTagged(attribute)) return false;
    reads.context.add(attribute);
    reads.instant ||= attribute === 'time';
  }
  if (variable === 'principal' || variable === 'resource') reads[variable].add(attribute);
  return true;
}

/** `s`, `n` or `b` of a tag. */
function readValue(operand: unknown, attribute: string, reads: MutableReads): boolean {
  const tagged = taggedAttribute(part(operand, 'left'));
  const right = part(operand, 'right');
  const tag = right === undefined ? undefined : literal(right);
  if (tagged === undefined || typeof tag !== 'string') return false;
  reads.context.add(tagged);
  addTag(reads.tags, tagged, tag);
  if (attribute === 's') addTag(reads.texts, tagged, tag);
  if (attribute === 'n') {
    addTag(reads.numbers, tagged, tag);
    addTag(reads.decimals, tagged, tag);
  }
  return true;
}

/** `has a.b.c` is one node with a list of names. */
function firstAttribute(operand: unknown): string | undefined {
  const attribute: unknown = (operand as { attr?: unknown }).attr;
  if (typeof attribute === 'string') return attribute;
  const first: unknown = Array.isArray(attribute) ? attribute[0] : undefined;
  return typeof first === 'string' ? first : undefined;
}

function taggedAttribute(expression: Expression | undefined): Tagged | undefined {
  if (expression === undefined) return undefined;
  const { operator, operand } = node(expression);
  const left = operator === '.' ? part(operand, 'left') : undefined;
  if (left === undefined) return undefined;
  const variable = node(left);
  const attribute = firstAttribute(operand);
  if (variable.operator !== 'Var' || variable.operand !== 'context' || attribute === undefined)
    return undefined;
  return isTagged(attribute) ? attribute : undefined;
}

function isTagged(attribute: string): attribute is Tagged {
  return (TAGGED as readonly string[]).includes(attribute);
}

function addTag(sets: TagSets, tagged: Tagged, tag: string): void {
  const tags = sets.get(tagged) ?? new Set();
  tags.add(tag);
  sets.set(tagged, tags);
}
