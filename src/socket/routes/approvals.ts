/** Approvals: what a person has to allow before it is signed. */
import { object } from '../../wire/check.ts';
import { approvalView } from '../approval-view.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { ApprovalApi } from '../services.ts';
import { pendingOr } from './signing.ts';

export function approvalRoutes(approvals: ApprovalApi): readonly AnyRoute[] {
  return [
    route({
      method: 'GET',
      path: '/v1/approvals',
      operation: 'listApprovals',
      on: ['admin'],
      handle: async ({ caller }) => ok({ approvals: (await approvals.list(caller)).map(approvalView) }),
    }),
    route({
      method: 'GET',
      path: '/v1/approvals/{approval}',
      operation: 'collectApproval',
      on: ['shared', 'agent'],
      handle: async ({ caller, approval, signal }) =>
        pendingOr(await approvals.collect(caller, approval, signal)),
    }),
    ...(['allow', 'deny'] as const).map((decision) =>
      route<object>({
        method: 'POST',
        path: `/v1/approvals/{approval}/${decision}`,
        operation: `${decision}Approval`,
        on: ['admin'],
        body: object({}),
        bodyOptional: true,
        handle: async ({ caller, approval }) =>
          ok(approvalView(await approvals.decide(caller, approval, decision))),
      }),
    ),
  ];
}
