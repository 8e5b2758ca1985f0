/** Credentials of an agent: what the daemon holds, and a renewal on request. */
import { object } from '../../wire/check.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { CredentialApi } from '../services.ts';

/** A repeated renewal within a minute is the same renewal. */
const RENEWAL_ANSWER_LIFE_MS = 60_000;

export function credentialRoutes(credentials: CredentialApi): readonly AnyRoute[] {
  return [
    route({
      method: 'GET',
      path: '/v1/agents/{agent}/credentials',
      operation: 'showCredentials',
      on: ['shared', 'admin', 'agent'],
      handle: async ({ caller, agent }) => ok(await credentials.show(caller, agent)),
    }),
    route<object>({
      method: 'POST',
      path: '/v1/agents/{agent}/credentials',
      operation: 'renewCredentials',
      on: ['shared', 'admin', 'agent'],
      body: object({}),
      bodyOptional: true,
      answerLifeMs: RENEWAL_ANSWER_LIFE_MS,
      handle: async ({ caller, agent }) => ok(await credentials.renew(caller, agent)),
    }),
  ];
}
