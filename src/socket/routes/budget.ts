/** Budgets of an agent's grant or delegation. */
import { object } from '../../wire/check.ts';
import { settlementRequest, topUpRequest } from '../../wire/socket/budget.ts';
import { wholeNumber } from '../query.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { BudgetApi } from '../services.ts';

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 500;
const CHANGE_ANSWER_LIFE_MS = 24 * 60 * 60 * 1000;

export function budgetRoutes(budget: BudgetApi): readonly AnyRoute[] {
  return [
    route({
      method: 'GET',
      path: '/v1/agents/{agent}/budget',
      operation: 'showBudget',
      on: ['shared', 'admin', 'agent'],
      handle: async ({ caller, agent }) => ok({ budgets: await budget.show(caller, agent) }),
    }),
    route({
      method: 'POST',
      path: '/v1/agents/{agent}/budget',
      operation: 'topUpBudget',
      on: ['shared', 'admin'],
      body: topUpRequest,
      answerLifeMs: CHANGE_ANSWER_LIFE_MS,
      handle: async ({ caller, agent, body }) => ok({ budgets: await budget.topUp(caller, agent, body) }),
    }),
    route({
      method: 'POST',
      path: '/v1/agents/{agent}/budget/settle',
      operation: 'settleBudget',
      on: ['shared', 'agent'],
      body: settlementRequest,
      answerLifeMs: CHANGE_ANSWER_LIFE_MS,
      handle: async ({ caller, agent, body }) => ok({ budgets: await budget.settle(caller, agent, body) }),
    }),
    route({
      method: 'GET',
      path: '/v1/agents/{agent}/budget/history',
      operation: 'budgetHistory',
      on: ['shared', 'admin', 'agent'],
      query: ['before', 'limit'],
      handle: async ({ caller, agent, query }) => {
        const limit = Math.min(wholeNumber(query, 'limit') ?? DEFAULT_LIMIT, MAX_LIMIT);
        return ok(await budget.history(caller, agent, wholeNumber(query, 'before'), limit));
      },
    }),
    route<object>({
      method: 'POST',
      path: '/v1/ledger/accept-rollback',
      operation: 'acceptRollback',
      on: ['admin'],
      body: object({}),
      bodyOptional: true,
      handle: async ({ caller }) => ok(await budget.acceptRollback(caller)),
    }),
  ];
}
