/** The audit log: checkpoints for everybody, entries and proofs for the role operate. */
import { KeydError } from '../../wire/problem.ts';
import { wholeNumber } from '../query.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { AuditApi } from '../services.ts';

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;

export function auditRoutes(audit: AuditApi): readonly AnyRoute[] {
  return [
    route({
      method: 'GET',
      path: '/v1/audit/checkpoint',
      operation: 'auditCheckpoint',
      on: ['shared', 'admin', 'agent'],
      handle: async () => ok(await audit.checkpoint()),
    }),
    route({
      method: 'GET',
      path: '/v1/audit/entries',
      operation: 'auditEntries',
      on: ['admin'],
      query: ['from', 'limit'],
      handle: async ({ caller, query }) => {
        const from = wholeNumber(query, 'from') ?? 0;
        const limit = Math.min(wholeNumber(query, 'limit') ?? DEFAULT_LIMIT, MAX_LIMIT);
        return ok(await audit.entries(caller, from, limit));
      },
    }),
    route({
      method: 'GET',
      path: '/v1/audit/proof',
      operation: 'auditProof',
      on: ['admin'],
      query: ['index', 'first', 'second'],
      handle: async ({ caller, query }) => {
        const index = wholeNumber(query, 'index');
        const first = wholeNumber(query, 'first');
        const second = wholeNumber(query, 'second');
        if (index !== undefined && first === undefined && second === undefined) {
          return ok(await audit.inclusion(caller, index));
        }
        if (index === undefined && first !== undefined && second !== undefined) {
          return ok(await audit.consistency(caller, first, second));
        }
        throw new KeydError(
          'malformed_request',
          'give index for one entry, or first and second for two sizes',
        );
      },
    }),
  ];
}
