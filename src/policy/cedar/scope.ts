/** The head of a policy: which callers, actions and agents it is about. */
import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { actionsOf, ALL_ACTIONS, type ActionName } from './schema.ts';

export interface Scope {
  readonly actions: ReadonlySet<ActionName>;
  /** The action scope is `== Action::"raw"`: what a permit needs to cover raw (DECISIONS 20). */
  readonly exactlyRaw: boolean;
  /** uid of `principal == Caller::"..."`. */
  readonly caller: string | undefined;
  readonly agents: AgentScope;
}

export interface AgentScope {
  /** Agents or sub-agents only. */
  readonly type: 'Agent' | 'SubAgent' | undefined;
  /** Entity that must be the resource itself, or above it. */
  readonly is?: string;
  readonly in?: string;
}

/** An agent as policies name it. */
export function agentType(name: string): 'Agent' | 'SubAgent' {
  return name.includes('+') ? 'SubAgent' : 'Agent';
}

/** The names of an agent and of all above it, itself first. */
export function lineage(name: string): readonly string[] {
  const names = [name];
  for (let at = name.lastIndexOf('+'); at !== -1; at = name.lastIndexOf('+', at - 1)) {
    names.push(name.slice(0, at));
  }
  return names;
}

/** Whether a scope covers an agent of this name. */
export function coversAgent({ type, is, in: above }: AgentScope, name: string): boolean {
  if (type !== undefined && type !== agentType(name)) return false;
  if (is !== undefined) return is === name;
  return above === undefined || lineage(name).includes(above);
}

/** The scope, and what this daemon does not take in it, one sentence each. */
export function scopeOf(policy: PolicyJson): { readonly scope: Scope; readonly faults: readonly string[] } {
  const faults: string[] = [];
  const { principal, action, resource } = policy;
  let caller: string | undefined;
  if (principal.op === '==' && 'entity' in principal) caller = uid(principal.entity).id;
  if (principal.op === 'in' || (principal.op === 'is' && principal.in !== undefined)) {
    faults.push('names its principal with `in`; callers are in no groups of entities, use == or a condition');
  }
  const agents = agentScope(resource, faults);
  const actions = new Set(actionNames(action, policy.effect, faults));
  const exactlyRaw = action.op === '==' && actions.has('raw');
  // A permit covers raw by its own name only: nobody reads what is signed there.
  if (policy.effect === 'permit' && !exactlyRaw) actions.delete('raw');
  return { scope: { actions, exactlyRaw, caller, agents }, faults };
}

function agentScope(resource: PolicyJson['resource'], faults: string[]): AgentScope {
  if (resource.op === 'All') return { type: undefined };
  if (resource.op === 'is') {
    const type = resource.entity_type === 'SubAgent' ? 'SubAgent' : 'Agent';
    const above = resource.in !== undefined && 'entity' in resource.in ? uid(resource.in.entity) : undefined;
    if (above !== undefined) checkAgent(above, faults);
    return { type, ...(above === undefined ? {} : { in: above.id }) };
  }
  if (!('entity' in resource)) return { type: undefined };
  const named = uid(resource.entity);
  checkAgent(named, faults);
  return resource.op === '==' ? { type: undefined, is: named.id } : { type: undefined, in: named.id };
}

/** `Agent::"a+b"` would never match: a silent hole in a forbid. */
function checkAgent({ type, id }: { type: string; id: string }, faults: string[]): void {
  if (type !== agentType(id))
    faults.push(`names ${type}::${JSON.stringify(id)}; that is ${agentType(id)}::${JSON.stringify(id)}`);
}

function actionNames(
  action: PolicyJson['action'],
  effect: PolicyJson['effect'],
  faults: string[],
): readonly ActionName[] {
  if (action.op === 'All') return ALL_ACTIONS;
  if (action.op === '==') return 'entity' in action ? actionsOf(uid(action.entity).id) : [];
  const names = ('entities' in action ? action.entities : [action.entity]).map((entity) => uid(entity).id);
  if (effect === 'permit' && names.includes('raw')) {
    faults.push('lists raw among other actions; a permit covers raw by `action == Action::"raw"` only');
  }
  return names.flatMap(actionsOf);
}

function uid(entity: { readonly __entity: Uid } | Uid): Uid {
  return '__entity' in entity ? entity.__entity : entity;
}

interface Uid {
  readonly type: string;
  readonly id: string;
}
