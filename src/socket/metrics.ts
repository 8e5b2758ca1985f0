/** What the socket counts, for Prometheus. No label names a caller or an agent: who may read /metrics may not read those. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { Ingress } from '../caller/caller.ts';
import type { MetricsSource } from './routes/host.ts';

/** What came of the requests of one operation on one socket. */
interface Answered {
  readonly seconds: { observe(seconds: number): void };
  /** Not told to prom-client yet, by HTTP status. */
  readonly untold: Map<number, number>;
}

/**
 * Requests are counted here and told when somebody asks: prom-client makes a text of the labels for each count.
 * As many as routes and statuses, both ours, so that nobody makes them more.
 */
class RequestTally {
  inFlight = 0;
  readonly answered = new Map<string, Answered>();
}

export class SocketMetrics implements MetricsSource {
  readonly registry = new Registry();
  readonly #tallies = {
    shared: new RequestTally(),
    admin: new RequestTally(),
    agent: new RequestTally(),
  } satisfies Record<Ingress['kind'], RequestTally>;
  readonly #seconds: Histogram<'operation'>;
  readonly #connections: Gauge<'socket'>;
  readonly #refusals: Counter<'socket' | 'code'>;
  readonly #opinions: Histogram<'outcome'>;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    const tallies = Object.entries(this.#tallies);
    new Counter({
      name: 'agentkeyd_requests_total',
      help: 'Requests answered, by operation, socket and HTTP status.',
      labelNames: ['operation', 'socket', 'status'],
      registers,
      collect() {
        for (const [socket, { answered }] of tallies) {
          for (const [operation, { untold }] of answered) {
            for (const [status, count] of untold) this.inc({ operation, socket, status }, count);
            untold.clear();
          }
        }
      },
    });
    this.#seconds = new Histogram({
      name: 'agentkeyd_request_duration_seconds',
      help: 'Time from a request’s header to the end of its answer.',
      labelNames: ['operation'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
    new Gauge({
      name: 'agentkeyd_requests_in_flight',
      help: 'Requests begun and not yet answered.',
      labelNames: ['socket'],
      registers,
      collect() {
        for (const [socket, { inFlight }] of tallies) this.set({ socket }, inFlight);
      },
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

  /** A request has begun; returns when, for `over`. */
  begin(socket: Ingress['kind']): number {
    this.#tallies[socket].inFlight += 1;
    return performance.now();
  }

  /** A request is over; to be called once for each that has begun. */
  over(socket: Ingress['kind'], operation: string, status: number, beganMs: number): void {
    const tally = this.#tallies[socket];
    tally.inFlight -= 1;
    let answered = tally.answered.get(operation);
    if (answered === undefined) {
      answered = { seconds: this.#seconds.labels({ operation }), untold: new Map() };
      tally.answered.set(operation, answered);
    }
    answered.untold.set(status, (answered.untold.get(status) ?? 0) + 1);
    answered.seconds.observe((performance.now() - beganMs) / 1000);
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
