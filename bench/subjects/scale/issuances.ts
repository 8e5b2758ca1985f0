/** Attested issuances to one host: a real daemon over a real TPM simulator, and an issuer that is idle in between. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cpuBetween, processCpu } from '../../harness/process-cpu.ts';
import { writeRequests, type LoadRequest } from '../../harness/requests.ts';
import { spread } from '../../harness/stats.ts';
import { call, loadWith, type Load } from '../daemon.ts';
import type { BenchSandbox } from '../sandbox.ts';
import type { Detail, ScaleContext } from './context.ts';

const CONNECTIONS = 4;
const MAX_SECONDS = 300;
const ISSUED_TIMEOUT_MS = 300_000;

/**
 * Each agent is renewed once: a second renewal within the minute would be answered from the first. The host's TPM,
 * which certifies each key, is slower than the issuer, whose code never becomes warm: what an issuer core can do is
 * told by issuer-core.ts.
 */
export async function measureIssuances(
  { dir, programs, sizes, rounds, say }: ScaleContext,
  { full, issuerPid }: BenchSandbox,
): Promise<readonly Detail[]> {
  const send = async (requests: readonly LoadRequest[]) => {
    const file = join(dir, 'issuances.http');
    await writeRequests(file, requests);
    const load: Load = { connections: CONNECTIONS, seconds: MAX_SECONDS, maxRequests: requests.length };
    return loadWith(programs, full, file, load);
  };
  const { issuances, firstIssuances } = sizes;
  const count = firstIssuances + rounds * issuances;
  const names = Array.from({ length: count }, (_, number) => `issue-${number}`);
  say(`scale: making ${names.length} agents to issue to`);
  await send(
    names.map((name) => ({
      method: 'POST',
      path: '/v1/agents',
      body: { name, backend: 'tpm', algorithm: 'ES256' },
    })),
  );
  await allIssued(full.socket, names);
  const results: {
    readonly own: number;
    readonly hosts: number;
    readonly perS: number;
    readonly p50Ms: number;
  }[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const before = processCpu(issuerPid);
    const { requests, opsPerS, p50Us } = await send(
      names
        .slice(round === 0 ? 0 : firstIssuances + (round - 1) * issuances, firstIssuances + round * issuances)
        .map((name) => ({ method: 'POST', path: `/v1/agents/${name}/credentials`, body: {} })),
    );
    const { ownUs, childrenUs } = cpuBetween(before, processCpu(issuerPid));
    const result = {
      own: ownUs / requests,
      hosts: childrenUs / requests,
      perS: opsPerS,
      p50Ms: p50Us / 1000,
    };
    say(
      `scale ${round}/${rounds}  issuance: issuer CPU ${result.own.toFixed(0)} us and ${result.hosts.toFixed(0)} us in its module hosts; ${opsPerS.toFixed(0)}/s from one host`,
    );
    // The first is to warm up.
    if (round > 0) results.push(result);
  }
  for (const name of names) await call(full.socket, 'DELETE', `/v1/agents/${name}`);
  return [
    {
      what: 'issuer CPU per attested issuance to one host, µs',
      spread: spread(results.map(({ own }) => own)),
    },
    { what: 'CPU of its module hosts then, µs', spread: spread(results.map(({ hosts }) => hosts)) },
    {
      what: 'attested issuances a second to one host, its TPM included',
      spread: spread(results.map(({ perS }) => perS)),
    },
    {
      what: `renewing one agent of ${CONNECTIONS} at once then, p50, ms`,
      spread: spread(results.map(({ p50Ms }) => p50Ms)),
    },
  ];
}

/** The daemon asks for the credentials of new agents by itself; what is measured begins when it has them. */
async function allIssued(socket: string, names: readonly string[]): Promise<void> {
  const deadline = Date.now() + ISSUED_TIMEOUT_MS;
  const waiting = [...names];
  for (let name = waiting.at(-1); name !== undefined; name = waiting.at(-1)) {
    try {
      await call(socket, 'GET', `/v1/agents/${name}/credentials`);
      waiting.pop();
    } catch (thrown) {
      if (Date.now() > deadline) throw thrown;
      await delay(200);
    }
  }
}
