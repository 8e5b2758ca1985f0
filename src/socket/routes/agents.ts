/** Agents: create, list, show, rotate, retire, export. */
import { object } from '../../wire/check.ts';
import { createAgentRequest, rotateAgentRequest } from '../../wire/socket/agents.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { AgentApi, RetirementView } from '../services.ts';

/** A repeated creation within a day is the same creation. */
const CHANGE_ANSWER_LIFE_MS = 24 * 60 * 60 * 1000;

const EVERYWHERE = ['shared', 'admin', 'agent'] as const;
const CHANGING = ['shared', 'admin'] as const;

export function agentRoutes(agents: AgentApi): readonly AnyRoute[] {
  return [
    route({
      method: 'POST',
      path: '/v1/agents',
      operation: 'createAgent',
      on: CHANGING,
      body: createAgentRequest,
      answerLifeMs: CHANGE_ANSWER_LIFE_MS,
      handle: async ({ caller, body }) => ({ status: 201, json: await agents.create(caller, body) }),
    }),
    route({
      method: 'GET',
      path: '/v1/agents',
      operation: 'listAgents',
      on: EVERYWHERE,
      handle: async ({ caller }) => ok({ agents: await agents.list(caller) }),
    }),
    route({
      method: 'GET',
      path: '/v1/agents/{agent}',
      operation: 'showAgent',
      on: EVERYWHERE,
      handle: async ({ caller, agent }) => ok(await agents.show(caller, agent)),
    }),
    route({
      method: 'DELETE',
      path: '/v1/agents/{agent}',
      operation: 'retireAgent',
      on: CHANGING,
      answerLifeMs: CHANGE_ANSWER_LIFE_MS,
      handle: async ({ caller, agent }) => retired(await agents.retire(caller, agent)),
    }),
    route({
      method: 'POST',
      path: '/v1/agents/{agent}/rotate',
      operation: 'rotateAgent',
      on: CHANGING,
      body: rotateAgentRequest,
      bodyOptional: true,
      answerLifeMs: CHANGE_ANSWER_LIFE_MS,
      handle: async ({ caller, agent, body }) => ok(await agents.rotate(caller, agent, body)),
    }),
    route<object>({
      method: 'POST',
      path: '/v1/agents/{agent}/export-tss2',
      operation: 'exportTss2',
      on: ['admin'],
      body: object({}),
      bodyOptional: true,
      handle: async ({ caller, agent }) => ok({ pem: await agents.exportTss2(caller, agent) }),
    }),
  ];
}

/**
 * 204 with what was erased in a structured field (RFC 8941 item), so that the answer has no body and still
 * says it (S15).
 */
function retired({ erased, statement }: RetirementView): ReturnType<typeof ok> {
  const text = statement
    .replaceAll('’', "'")
    .replace(/[^\x20-\x7e]/g, ' ')
    .replace(/["\\]/g, '\\$&');
  return {
    status: 204,
    text: '',
    mediaType: '',
    headers: { 'agentkeyd-erased': `${erased};statement="${text}"` },
  };
}
