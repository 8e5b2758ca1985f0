/** The policy set in force. */
import { object } from '../../wire/check.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { PolicyApi } from '../services.ts';

export function policyRoutes(policy: PolicyApi): readonly AnyRoute[] {
  return [
    route({
      method: 'GET',
      path: '/v1/policy',
      operation: 'showPolicy',
      on: ['admin'],
      handle: async ({ caller }) => ok(await policy.show(caller)),
    }),
    route<object>({
      method: 'POST',
      path: '/v1/policy/reload',
      operation: 'reloadPolicy',
      on: ['admin'],
      body: object({}),
      bodyOptional: true,
      handle: async ({ caller }) => ok(await policy.reload(caller)),
    }),
  ];
}
