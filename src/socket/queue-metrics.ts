/** What the queues in front of the hardware tell Prometheus: how long requests waited, and what became of them. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { FairQueue } from '../base/fair-queue.ts';

export interface WatchedQueue {
  /** `tpm`, `pkcs11`. */
  readonly backend: string;
  readonly queue: Pick<FairQueue, 'state' | 'watch'>;
}

export function watchQueues(registry: Registry, queues: readonly WatchedQueue[]): void {
  const registers = [registry];
  const wait = new Histogram({
    name: 'agentkeyd_queue_wait_seconds',
    help: 'Time that requests waited for their turn at the hardware, of those that got it.',
    labelNames: ['backend'],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  });
  const refusals = new Counter({
    name: 'agentkeyd_queue_refusals_total',
    help: 'Requests that ended unserved, by code; stage waiting: the hardware was not asked.',
    labelNames: ['backend', 'code', 'stage'],
    registers,
  });
  for (const { backend, queue } of queues) {
    const waited = wait.labels({ backend });
    queue.watch({
      started: (waitedMs) => {
        waited.observe(waitedMs / 1000);
      },
      refused: (code, stage) => {
        refusals.inc({ backend, code, stage });
      },
    });
  }
  const gauge = (name: string, help: string, read: (queue: WatchedQueue['queue']) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ['backend'],
      registers,
      collect() {
        for (const { backend, queue } of queues) this.set({ backend }, read(queue));
      },
    });
  };
  gauge('agentkeyd_queue_waiting', 'Requests that wait for the hardware.', ({ state }) => state.waiting);
  gauge('agentkeyd_queue_running', 'Requests that the hardware works on.', ({ state }) => state.running);
  gauge(
    'agentkeyd_queue_service_seconds',
    'Moving average of what the hardware takes for one request; Retry-After is estimated from it.',
    ({ state }) => state.serviceMs / 1000,
  );
}
