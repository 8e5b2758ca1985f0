import { expect, test } from 'vitest';
import { SocketMetrics } from '../../../src/socket/metrics.ts';

async function lines(metrics: SocketMetrics): Promise<string[]> {
  return (await metrics.render()).split('\n');
}

test('each request is counted once, however often somebody looks', async () => {
  const metrics = new SocketMetrics();
  const signing = metrics.begin('shared');
  const healthz = metrics.begin('shared');
  metrics.begin('admin');
  expect(await lines(metrics)).toContain('agentkeyd_requests_in_flight{socket="shared"} 2');
  metrics.over('shared', 'signHttpMessage', 200, signing);
  metrics.over('shared', 'healthz', 200, healthz);
  for (let look = 0; look < 3; look += 1) {
    const seen = await lines(metrics);
    expect(seen).toContain('agentkeyd_requests_in_flight{socket="shared"} 0');
    expect(seen).toContain('agentkeyd_requests_in_flight{socket="admin"} 1');
    expect(seen).toContain(
      'agentkeyd_requests_total{operation="signHttpMessage",socket="shared",status="200"} 1',
    );
    expect(seen).toContain('agentkeyd_request_duration_seconds_count{operation="healthz"} 1');
  }
  metrics.over('shared', 'signHttpMessage', 200, metrics.begin('shared'));
  metrics.over('shared', 'signHttpMessage', 403, metrics.begin('shared'));
  metrics.over('agent', 'signHttpMessage', 200, metrics.begin('agent'));
  const seen = await lines(metrics);
  for (const [socket, status, count] of [
    ['shared', 200, 2],
    ['shared', 403, 1],
    ['agent', 200, 1],
  ] as const) {
    expect(seen).toContain(
      `agentkeyd_requests_total{operation="signHttpMessage",socket="${socket}",status="${status}"} ${count}`,
    );
  }
  expect(seen).toContain('agentkeyd_request_duration_seconds_count{operation="signHttpMessage"} 4');
});
