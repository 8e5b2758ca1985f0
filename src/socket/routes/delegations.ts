/** Delegations: sub-agents made, listed, shown with their chain, and revoked. */
import { delegateRequest, revokeRequest } from '../../wire/socket/delegations.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { DelegationApi } from '../services.ts';
import { pendingOr } from './signing.ts';

/** A stored answer ends before the links in it do (S12). */
const DELEGATION_ANSWER_LIFE_MS = 5 * 60 * 1000;

const EVERYWHERE = ['shared', 'admin', 'agent'] as const;

export function delegationRoutes(delegations: DelegationApi): readonly AnyRoute[] {
  return [
    route({
      method: 'POST',
      path: '/v1/agents/{agent}/delegations',
      operation: 'delegate',
      // Not on the admin socket: who operates the daemon does not thereby speak for its agents.
      on: ['shared', 'agent'],
      body: delegateRequest,
      answerLifeMs: DELEGATION_ANSWER_LIFE_MS,
      handle: async ({ caller, agent, body, signal, connection }) => {
        const made = await delegations.delegate(caller, agent, body, { signal, connection });
        return 'chain' in made || 'results' in made ? { status: 201, json: made } : pendingOr(made);
      },
    }),
    route({
      method: 'GET',
      path: '/v1/agents/{agent}/delegations',
      operation: 'listDelegations',
      on: EVERYWHERE,
      handle: async ({ caller, agent }) => ok({ delegations: await delegations.list(caller, agent) }),
    }),
    route({
      method: 'GET',
      path: '/v1/agents/{agent}/chain',
      operation: 'showChain',
      on: EVERYWHERE,
      handle: async ({ caller, agent }) => ok({ chain: await delegations.chain(caller, agent) }),
    }),
    route({
      method: 'POST',
      path: '/v1/agents/{agent}/revoke',
      operation: 'revokeDelegation',
      on: EVERYWHERE,
      body: revokeRequest,
      bodyOptional: true,
      answerLifeMs: DELEGATION_ANSWER_LIFE_MS,
      handle: async ({ caller, agent }) => ok(await delegations.revoke(caller, agent)),
    }),
  ];
}
