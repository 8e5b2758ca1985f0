/** What the socket counts, for Prometheus. No label names a caller or an agent: who may read /metrics may not read those. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { Ingress } from '../caller/caller.ts';
import type { MetricsSource } from './routes/host.ts';

export class SocketMetrics implements MetricsSource {
  readonly registry = new Registry();
  readonly #requests: Counter<'operation' | 'socket' | 'status'>;
  readonly #seconds: Histogram<'operation'>;
  readonly #inFlight: Gauge<'socket'>;
  readonly #connections: Gauge<'socket'>;
  readonly #refusals: Counter<'socket' | 'code'>;
  readonly #opinions: Histogram<'outcome'>;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#requests = new Counter({
      name: 'agentkeyd_requests_total',
      help: 'Requests answered, by operation, socket and HTTP status.',
      labelNames: ['operation', 'socket', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'agentkeyd_request_duration_seconds',
      help: 'Time from a request’s header to the end of its answer.',
      labelNames: ['operation'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
    this.#inFlight = new Gauge({
      name: 'agentkeyd_requests_in_flight',
      help: 'Requests begun and not yet answered.',
      labelNames: ['socket'],
      registers,
    });
    this.#connections = new Gauge({
      name: 'agentkeyd_connections',
      help: 'Open connections.',
      labelNames: ['socket'],
      registers,
    });
    this.#refusals = new Counter({
      name: 'agentkeyd_refusals_total',
      help: 'Problems answered, by code; also those before a request was understood.',
      labelNames: ['socket', 'code'],
      registers,
    });
    this.#opinions = new Histogram({
      name: 'agentkeyd_decision_point_duration_seconds',
      help: 'Time that the external decision point added to a request, by what came of it.',
      labelNames: ['outcome'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    });
  }

  get mediaType(): string {
    return this.registry.contentType;
  }

  async render(): Promise<string> {
    return this.registry.metrics();
  }

  /** A request has begun; the returned function is called once when it is over. */
  begin(socket: Ingress['kind']): (operation: string, status: number) => void {
    const began = performance.now();
    this.#inFlight.inc({ socket });
    return (operation, status) => {
      this.#inFlight.dec({ socket });
      this.#requests.inc({ operation, socket, status });
      this.#seconds.observe({ operation }, (performance.now() - began) / 1000);
    };
  }

  refused(socket: Ingress['kind'], code: string): void {
    this.#refusals.inc({ socket, code });
  }

  connected(socket: Ingress['kind']): () => void {
    this.#connections.inc({ socket });
    return () => {
      this.#connections.dec({ socket });
    };
  }
  /** The external decision point was asked. */
  opinion(outcome: string, seconds: number): void {
    this.#opinions.observe({ outcome }, seconds);
  }
}
