/** A request as Cedar sees it: principal, action, resource, and of the context exactly what the policies at hand read. */
import type { CedarValueJson, EntityJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs';
import type { JudgedOperation, PolicyRequest } from '../verdict.ts';
import { agentValues, callerValues, pick, type Values } from './attributes.ts';
import type { RequestDocuments } from './documents.ts';
import { PLAIN } from './plain-context.ts';
import type { Reads, Tagged } from './reads.ts';
import { groupsOf } from './schema.ts';
import { agentType, lineage } from './scope.ts';
import { TAGGED_TYPES, taggedValue } from './tagged-context.ts';

export interface CedarRequest {
  readonly principal: TypeAndId;
  readonly action: TypeAndId;
  readonly resource: TypeAndId;
  readonly context: Record<string, CedarValueJson>;
  readonly entities: EntityJson[];
}

/**
 * All that a `CedarRequest` says beside what the reads say: of the same reads, the same question is the same request.
 * Values stand in the order of the reads, undefined for what the request does not have.
 */
export interface Question {
  readonly uid: number;
  readonly operation: JudgedOperation;
  readonly agent: string;
  readonly principal: Values;
  readonly resource: Values;
  readonly context: readonly (CedarValueJson | TaggedContent | undefined)[];
}

/** Of an attribute with tags: its own attributes where they are read, and the tags that are. */
interface TaggedContent {
  readonly attributes: Record<string, CedarValueJson> | undefined;
  readonly tags: Values;
}

const NONE: ReadonlySet<string> = new Set();

export function cedarRequest(
  request: PolicyRequest,
  reads: Reads,
  documents: RequestDocuments,
): CedarRequest {
  return cedarRequestOf(questionOf(request, reads, documents), reads);
}

export function questionOf(request: PolicyRequest, reads: Reads, documents: RequestDocuments): Question {
  const { caller, agent, parameters, facts } = request;
  const context: (CedarValueJson | TaggedContent | undefined)[] = [];
  for (const name of reads.context) {
    const plain = PLAIN[name];
    context.push(
      plain === undefined
        ? taggedContent(name as Tagged, request, reads, documents)
        : plain(parameters, facts, reads),
    );
  }
  return {
    uid: caller.uid,
    operation: parameters.operation,
    agent: agent.name,
    principal: callerValues(request, reads.principal),
    resource: agentValues(request, reads.resource),
    context,
  };
}

function taggedContent(
  name: Tagged,
  { parameters, facts }: PolicyRequest,
  reads: Reads,
  documents: RequestDocuments,
): TaggedContent | undefined {
  const value = taggedValue(name, parameters, facts, documents);
  if (value === undefined) return undefined;
  const decimals = reads.decimals.get(name) ?? NONE;
  const tags: (CedarValueJson | undefined)[] = [];
  for (const tag of reads.tags.get(name) ?? NONE) tags.push(value.tag(tag, decimals.has(tag)));
  return { attributes: reads.whole.has(name) ? value.attributes() : undefined, tags };
}

/** The request that a question asks. @param reads those it was made by */
export function cedarRequestOf(question: Question, reads: Reads): CedarRequest {
  const { uid, operation, agent } = question;
  const principal = { type: 'Caller', id: String(uid) };
  const resource = { type: agentType(agent), id: agent };
  const action = { type: 'Action', id: operation };
  const entities: EntityJson[] = [
    { uid: action, attrs: {}, parents: groupsOf(operation).map((id) => ({ type: 'Action', id })) },
    ...peers(question, reads),
  ];
  const context: Record<string, CedarValueJson> = {};
  for (const [index, name] of [...reads.context].entries()) {
    const value = question.context[index];
    if (value === undefined) continue;
    if (PLAIN[name] !== undefined) {
      context[name] = value as CedarValueJson;
      continue;
    }
    const { attributes: attrs = {}, tags } = value as TaggedContent;
    const entity = { type: TAGGED_TYPES[name as Tagged], id: name };
    context[name] = { __entity: entity };
    entities.push({
      uid: entity,
      attrs,
      parents: [],
      tags: pick(reads.tags.get(name as Tagged) ?? NONE, tags),
    });
  }
  return { principal, action, resource, context, entities };
}

/** The caller, and the agent with the names above it for `in`; one of which nothing is asked is left out. */
function peers(question: Question, reads: Reads): readonly EntityJson[] {
  const found: EntityJson[] = [];
  if (reads.principal.size > 0) {
    const attrs = pick(reads.principal, question.principal);
    found.push({ uid: { type: 'Caller', id: String(question.uid) }, attrs, parents: [] });
  }
  const uids = lineage(question.agent).map((name) => ({ type: agentType(name), id: name }));
  if (uids.length === 1 && reads.resource.size === 0) return found;
  for (const [index, uid] of uids.entries()) {
    const above = uids[index + 1];
    found.push({
      uid,
      attrs: index === 0 ? pick(reads.resource, question.resource) : {},
      parents: above === undefined ? [] : [above],
    });
  }
  return found;
}
