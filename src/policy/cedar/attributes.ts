/** Caller and agent as the schema describes them. */
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { PolicyRequest } from '../verdict.ts';
import { lineage } from './scope.ts';

/** Undefined is a fact that is not known: the attribute is absent. */
export type Attributes = Readonly<Record<string, CedarValueJson | undefined>>;
/** Attributes without their names, in the order in which they were asked for. */
export type Values = readonly (CedarValueJson | undefined)[];

type Attribute = (request: PolicyRequest) => CedarValueJson | undefined;

const CALLER: Readonly<Record<string, Attribute>> = {
  uid: ({ caller }) => caller.uid,
  gid: ({ caller }) => caller.gid,
  groups: ({ caller }) => [...caller.groups],
  ingress: ({ caller }) => caller.ingress.kind,
  ingressAgent: ({ caller: { ingress } }) => (ingress.kind === 'agent' ? ingress.agentName : undefined),
  unit: ({ caller }) => caller.unit,
  containerId: ({ caller }) => caller.containerId,
  executableSha256: ({ caller }) => caller.executableSha256,
  roles: ({ facts }) => [...facts.roles],
};

const AGENT: Readonly<Record<string, Attribute>> = {
  name: ({ agent }) => agent.name,
  ownerUid: ({ agent }) => agent.ownerUid,
  backend: ({ agent }) => agent.backend,
  algorithm: ({ agent }) => agent.algorithm,
  parent: ({ agent }) => lineage(agent.name)[1],
  root: ({ agent }) => lineage(agent.name).slice(1).at(-1),
  depth: ({ agent }) => {
    const above = lineage(agent.name).length - 1;
    return above === 0 ? undefined : above;
  },
};

/** What policies may ask of the caller; a fact that is not known is not there. */
export function callerAttributes(request: PolicyRequest): Attributes {
  return all(CALLER, request);
}

export function agentAttributes(request: PolicyRequest): Attributes {
  return all(AGENT, request);
}

export function callerValues(request: PolicyRequest, wanted: ReadonlySet<string>): Values {
  return some(CALLER, request, wanted);
}

export function agentValues(request: PolicyRequest, wanted: ReadonlySet<string>): Values {
  return some(AGENT, request, wanted);
}

/** Those that are there, under their names. */
export function pick(names: ReadonlySet<string>, values: Values): Record<string, CedarValueJson> {
  const picked: Record<string, CedarValueJson> = {};
  let index = 0;
  for (const name of names) {
    const value = values[index];
    if (value !== undefined) picked[name] = value;
    index += 1;
  }
  return picked;
}

/** The attributes that are there. */
export function defined(attributes: Attributes): Record<string, CedarValueJson> {
  return pick(new Set(Object.keys(attributes)), Object.values(attributes));
}

function all(table: Readonly<Record<string, Attribute>>, request: PolicyRequest): Attributes {
  return Object.fromEntries(Object.entries(table).map(([name, read]) => [name, read(request)]));
}

function some(
  table: Readonly<Record<string, Attribute>>,
  request: PolicyRequest,
  wanted: ReadonlySet<string>,
): Values {
  const values: (CedarValueJson | undefined)[] = [];
  for (const name of wanted) values.push(table[name]?.(request));
  return values;
}
