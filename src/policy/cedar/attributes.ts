/** Caller and agent as the schema describes them. */
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { PolicyRequest } from '../verdict.ts';
import { lineage } from './scope.ts';

/** Undefined is a fact that is not known: the attribute is absent. */
export type Attributes = Readonly<Record<string, CedarValueJson | undefined>>;

/** What policies may ask of the caller; a fact that is not known is not there. */
export function callerAttributes({ caller, facts }: PolicyRequest): Attributes {
  return {
    uid: caller.uid,
    gid: caller.gid,
    groups: [...caller.groups],
    ingress: caller.ingress.kind,
    ingressAgent: caller.ingress.kind === 'agent' ? caller.ingress.agentName : undefined,
    unit: caller.unit,
    containerId: caller.containerId,
    executableSha256: caller.executableSha256,
    roles: [...facts.roles],
  };
}

export function agentAttributes({ agent }: PolicyRequest): Attributes {
  const above = lineage(agent.name);
  return {
    name: agent.name,
    ownerUid: agent.ownerUid,
    backend: agent.backend,
    algorithm: agent.algorithm,
    parent: above[1],
    root: above.length > 1 ? above.at(-1) : undefined,
    depth: above.length > 1 ? above.length - 1 : undefined,
  };
}

/** Of the attributes that are there, those wanted. */
export function pick(attributes: Attributes, wanted: ReadonlySet<string>): Record<string, CedarValueJson> {
  const picked: Record<string, CedarValueJson> = {};
  for (const name of wanted) {
    const value = attributes[name];
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}

/** The attributes that are there. */
export function defined(attributes: Attributes): Record<string, CedarValueJson> {
  return pick(attributes, new Set(Object.keys(attributes)));
}
