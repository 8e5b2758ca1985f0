import { expect, test } from 'vitest';
import type { AnyRoute } from '../../../src/socket/route.ts';
import { approvalRoutes } from '../../../src/socket/routes/approvals.ts';
import { policyRoutes } from '../../../src/socket/routes/policy.ts';
import { auditRoutes } from '../../../src/socket/routes/audit.ts';
import { agentRoutes } from '../../../src/socket/routes/agents.ts';
import { budgetRoutes } from '../../../src/socket/routes/budget.ts';
import { credentialRoutes } from '../../../src/socket/routes/credentials.ts';
import { delegationRoutes } from '../../../src/socket/routes/delegations.ts';
import { hostRoutes } from '../../../src/socket/routes/host.ts';
import { signingRoutes } from '../../../src/socket/routes/signing.ts';
import { parse } from '../../../src/wire/check.ts';
import { codeOf } from '../../support/code-of.ts';
import { described, document, exampleBody, isDescribedBody } from '../../support/openapi.ts';

/** Every route there is; no handler is called. */
const routes: readonly AnyRoute[] = [
  ...agentRoutes(undefined as never),
  ...signingRoutes(undefined as never),
  ...credentialRoutes(undefined as never),
  ...delegationRoutes(undefined as never),
  ...budgetRoutes(undefined as never),
  ...approvalRoutes(undefined as never),
  ...policyRoutes(undefined as never),
  ...auditRoutes(undefined as never),
  ...hostRoutes(undefined as never, undefined as never),
];

const describedRoutes = described.map(({ method, path, operation }) => ({
  method,
  path,
  operation: operation.operationId,
  on: [...operation['x-agentkeyd-sockets']].sort(),
  body:
    operation.requestBody === undefined ? 'none' : operation.requestBody.required ? 'required' : 'optional',
  idempotent: JSON.stringify(operation.parameters ?? []).includes('IdempotencyKey'),
}));

test('it is OpenAPI 3.1', () => {
  expect(document.openapi).toBe('3.1.0');
});

test('every route is described, and nothing else is', () => {
  const actual = routes.map((route) => ({
    method: route.method,
    path: route.path,
    operation: route.operation,
    on: [...route.on].sort(),
    body: route.body === undefined ? 'none' : route.bodyOptional === true ? 'optional' : 'required',
    idempotent: route.answerLifeMs !== undefined,
  }));
  const key = (entry: { method: string; path: string }): string => `${entry.path} ${entry.method}`;
  const sorted = (list: typeof actual): typeof actual =>
    [...list].sort((a, b) => key(a).localeCompare(key(b)));
  expect(sorted(describedRoutes as typeof actual)).toEqual(sorted(actual));
});

const withBody = described.filter(({ operation }) => operation.requestBody !== undefined);

function shapeAccepts(operationId: string, body: unknown): boolean {
  const route = routes.find((candidate) => candidate.operation === operationId);
  return route?.body !== undefined && codeOf(() => parse(route.body as never, body)) === undefined;
}

test.each(withBody.map((entry) => [entry.operation.operationId, entry.operation] as const))(
  '%s: document and parser agree on its example and on every example with one fault',
  (operationId, operation) => {
    const example = exampleBody(operation) as Record<string, unknown>;
    expect(isDescribedBody(operation, example)).toBe(true);
    expect(shapeAccepts(operationId, example)).toBe(true);
    const faulty: unknown[] = [[], 1, null, 'x', { ...example, unknownMember: 1 }];
    for (const member of Object.keys(example)) {
      for (const wrong of [null, 7.5, true, {}, [[[]]]]) faulty.push({ ...example, [member]: wrong });
      faulty.push(Object.fromEntries(Object.entries(example).filter(([name]) => name !== member)));
    }
    for (const body of faulty) {
      // An example without an optional member is still good; both have to say the same.
      expect([shapeAccepts(operationId, body), body]).toEqual([isDescribedBody(operation, body), body]);
    }
  },
);
