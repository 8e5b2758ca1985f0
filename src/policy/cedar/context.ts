/** A request as Cedar sees it: principal, action, resource, and of the context exactly what the policies at hand read. */
import type { CedarValueJson, EntityJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs';
import type { PolicyRequest } from '../verdict.ts';
import { agentAttributes, callerAttributes, pick } from './attributes.ts';
import type { RequestDocuments } from './documents.ts';
import { PLAIN } from './plain-context.ts';
import type { Reads, Tagged } from './reads.ts';
import { groupsOf } from './schema.ts';
import { agentType, lineage } from './scope.ts';
import { taggedValue } from './tagged-context.ts';

export interface CedarRequest {
  readonly principal: TypeAndId;
  readonly action: TypeAndId;
  readonly resource: TypeAndId;
  readonly context: Record<string, CedarValueJson>;
  readonly entities: EntityJson[];
}

const NO_TAGS: ReadonlySet<string> = new Set();

export function cedarRequest(
  request: PolicyRequest,
  reads: Reads,
  documents: RequestDocuments,
): CedarRequest {
  const { caller, agent, parameters, facts } = request;
  const principal = { type: 'Caller', id: String(caller.uid) };
  const resource = { type: agentType(agent.name), id: agent.name };
  const action = { type: 'Action', id: parameters.operation };
  const entities: EntityJson[] = [
    { uid: action, attrs: {}, parents: groupsOf(parameters.operation).map((id) => ({ type: 'Action', id })) },
    ...peers(request, reads),
  ];
  const context: Record<string, CedarValueJson> = {};
  for (const name of reads.context) {
    const plain = PLAIN[name]?.(parameters, facts, reads);
    if (plain !== undefined) context[name] = plain;
    const tagged = taggedValue(name, parameters, facts, documents);
    if (tagged === undefined) continue;
    const uid = { type: tagged.type, id: name };
    context[name] = { __entity: uid };
    entities.push({
      uid,
      attrs: reads.whole.has(name as Tagged) ? tagged.attributes() : {},
      parents: [],
      tags: Object.fromEntries(
        tagged.tags(reads.tags.get(name as Tagged) ?? NO_TAGS, reads.decimals.get(name as Tagged) ?? NO_TAGS),
      ),
    });
  }
  return { principal, action, resource, context, entities };
}

/** The caller, and the agent with the names above it for `in`; one of which nothing is asked is left out. */
function peers(request: PolicyRequest, reads: Reads): readonly EntityJson[] {
  const found: EntityJson[] = [];
  if (reads.principal.size > 0) {
    const attrs = pick(callerAttributes(request), reads.principal);
    found.push({ uid: { type: 'Caller', id: String(request.caller.uid) }, attrs, parents: [] });
  }
  const uids = lineage(request.agent.name).map((name) => ({ type: agentType(name), id: name }));
  if (uids.length === 1 && reads.resource.size === 0) return found;
  for (const [index, uid] of uids.entries()) {
    const above = uids[index + 1];
    found.push({
      uid,
      attrs: index === 0 ? pick(agentAttributes(request), reads.resource) : {},
      parents: above === undefined ? [] : [above],
    });
  }
  return found;
}
