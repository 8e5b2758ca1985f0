import { readFileSync } from 'node:fs';

/** Of policies/agentkeyd.cedarschema; its first line says the same. */
export const POLICY_SCHEMA_VERSION = 1;

/** The published schema: the file that is installed is the one that is enforced. */
export const POLICY_SCHEMA = readFileSync(
  new URL('../../../policies/agentkeyd.cedarschema', import.meta.url),
  'utf8',
);

/** Members of the action group "sign" (schema). */
export const SIGN_ACTIONS = ['http-message', 'dpop', 'jwt', 'csr', 'raw'] as const;
/** Members of the action group "own" (schema). */
export const OWN_ACTIONS = [
  'delegate',
  'use',
  'show',
  'credentials-read',
  'credentials-renew',
  'revoke',
] as const;
export const ALL_ACTIONS = [...SIGN_ACTIONS, ...OWN_ACTIONS, 'approve'] as const;

export type ActionName = (typeof ALL_ACTIONS)[number];

/** The action groups that an action is in. */
export function groupsOf(action: ActionName): readonly ('sign' | 'own')[] {
  return (['sign', 'own'] as const).filter((group) => actionsOf(group).includes(action));
}

/** The actions that a name in an action scope stands for; none for a name that the schema does not have. */
export function actionsOf(name: string): readonly ActionName[] {
  if (name === 'sign') return SIGN_ACTIONS;
  if (name === 'own') return OWN_ACTIONS;
  return ALL_ACTIONS.filter((action) => action === name);
}
