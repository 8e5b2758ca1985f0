/** The host: enrolment, Evidence for third parties, and whether the daemon is well. */
import { object } from '../../wire/check.ts';
import { thirdPartyQuoteRequest } from '../../wire/socket/agents.ts';
import { ok, route, type AnyRoute } from '../route.ts';
import type { HostApi } from '../services.ts';

const EVERYWHERE = ['shared', 'admin', 'agent'] as const;

export interface MetricsSource {
  readonly mediaType: string;
  render(): Promise<string>;
}

export function hostRoutes(host: HostApi, metrics: MetricsSource): readonly AnyRoute[] {
  return [
    route({
      method: 'POST',
      path: '/v1/attestation/quote',
      operation: 'quote',
      on: ['shared'],
      body: thirdPartyQuoteRequest,
      handle: async ({ caller, body }) => ok(await host.quote(caller, body)),
    }),
    route<object>({
      method: 'POST',
      path: '/v1/host/enroll',
      operation: 'enrollHost',
      on: ['admin'],
      body: object({}),
      bodyOptional: true,
      handle: async ({ caller }) => ok(await host.enrol(caller)),
    }),
    route<object>({
      method: 'POST',
      path: '/v1/host/adopt-tpm',
      operation: 'adoptTpm',
      on: ['admin'],
      body: object({}),
      bodyOptional: true,
      handle: async ({ caller }) => ok(await host.adoptTpm(caller)),
    }),
    route({
      method: 'GET',
      path: '/v1/status',
      operation: 'status',
      // What a container with one agent's socket sees of the host is that agent (S11).
      on: ['shared', 'admin'],
      handle: async () => ok(await host.status()),
    }),
    route({
      method: 'GET',
      path: '/healthz',
      operation: 'healthz',
      on: EVERYWHERE,
      handle: () => Promise.resolve(ok({ status: 'ok' })),
    }),
    route({
      method: 'GET',
      path: '/readyz',
      operation: 'readyz',
      on: EVERYWHERE,
      // Degraded is ready: what still works is served, and each call says what does not.
      handle: async () => {
        const { state } = await host.status();
        return { status: state === 'draining' ? 503 : 200, json: { state } };
      },
    }),
    route({
      method: 'GET',
      path: '/metrics',
      operation: 'metrics',
      on: ['shared', 'admin'],
      handle: async () => ({ status: 200, text: await metrics.render(), mediaType: metrics.mediaType }),
    }),
  ];
}
