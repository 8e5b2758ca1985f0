/**
 * 10,000 agents with keys in a TPM, over 10: what a signature costs beyond bringing the key in, how long the daemon
 * takes to start, and what memory it has.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startSwtpm, type Swtpm } from '../../../scripts/sandbox/swtpm.ts';
import type { Sample } from '../../harness/measurement.ts';
import { cpuBetween, processCpu, residentMiB } from '../../harness/process-cpu.ts';
import { writeRequests } from '../../harness/requests.ts';
import { runRaw } from '../../harness/run-raw.ts';
import { shuffled, spread } from '../../harness/stats.ts';
import { daemonCpuUs, loadWith, signRequest, type DaemonSubject } from '../daemon.ts';
import { provision, startLone } from '../lone-daemon.ts';
import type { ScaleContext, Scaled } from './context.ts';

/** More than a TPM has slots: of ten in turn, too, each has to be brought in. */
const FEW = 10;
const CONNECTIONS = 8;
/** Making keys is served one at a time, and few may wait. */
const CREATE_CONNECTIONS = 4;
const CREATE_SECONDS = 600;
const SETTLE_MS = 300;

export interface TpmAgentsScaled {
  readonly cost: Scaled;
  readonly start: Scaled;
  readonly resident: Scaled;
}

export async function measureTpmAgents(context: ScaleContext): Promise<TpmAgentsScaled> {
  const { dir, programs, rounds, say } = context;
  const count = context.sizes.agents;
  const tpm = await startSwtpm(join(dir, 'tpm'));
  // The daemon keeps the slots of its own TPM filled.
  const rawTpm = await startSwtpm(join(dir, 'raw'));
  try {
    const daemon = await provision(join(dir, 'd'), { tcti: tpm.tcti });
    const agents = Array.from({ length: count }, (_, number) => `agent-${number}`);
    say(`scale: making ${count} TPM agents`);
    const first = await startLone('agents', daemon);
    const creation = await createAll(programs, dir, first.subject, agents);
    await first.stop();

    const starts: { readonly readyS: number; readonly residentMiB: number }[] = [];
    let running = await startLone('agents', daemon);
    for (let round = 1; round <= rounds; round += 1) {
      await running.stop();
      running = await startLone('agents', daemon);
      await delay(SETTLE_MS);
      starts.push({ readyS: running.readyS, residentMiB: residentMiB(running.subject.pid) });
      say(`scale ${round}/${rounds}  ready after ${running.readyS.toFixed(2)} s with ${count} TPM agents`);
    }
    try {
      const cost = await measureCost(context, { subject: running.subject, tpm, rawTpm, agents });
      const used = residentMiB(running.subject.pid);
      const agentsText = `${count.toLocaleString('en')} TPM agents`;
      return {
        cost,
        start: {
          spread: spread(starts.map(({ readyS }) => readyS)),
          details: [
            {
              what: 'making a TPM agent, p50 of one after the other, ms',
              spread: spread([creation.p50Us / 1000 / CREATE_CONNECTIONS]),
            },
            { what: 'daemon CPU of making one, µs', spread: spread([daemonCpuUs(creation)]) },
          ],
        },
        resident: {
          spread: spread(starts.map((each) => each.residentMiB)),
          details: [
            { what: `resident memory after all ${agentsText} were used, MiB`, spread: spread([used]) },
          ],
        },
      };
    } finally {
      await running.stop();
    }
  } finally {
    await tpm.end('SIGTERM');
    await rawTpm.end('SIGTERM');
  }
}

interface InUse {
  readonly subject: DaemonSubject;
  readonly tpm: Pick<Swtpm, 'tcti' | 'pid'>;
  readonly rawTpm: Pick<Swtpm, 'tcti' | 'pid'>;
  readonly agents: readonly string[];
}

/** CPU of daemon, and TPM, per signature, less that of TPM2_ContextLoad and TPM2_FlushContext around it. */
async function measureCost(
  { dir, programs, rounds, say }: ScaleContext,
  { subject, tpm, rawTpm, agents }: InUse,
): Promise<Scaled> {
  const file = join(dir, 'agents.http');
  const sign = async (names: readonly string[], seconds: number, maxRequests?: number): Promise<number> => {
    await writeRequests(
      file,
      names.map((name) => signRequest(name, 'http-message')),
    );
    const before = processCpu(tpm.pid);
    const limit = maxRequests === undefined ? {} : { maxRequests };
    const sample = await loadWith(programs, subject, file, { connections: CONNECTIONS, seconds, ...limit });
    const { ownUs } = cpuBetween(before, processCpu(tpm.pid));
    return daemonCpuUs(sample) + ownUs / sample.requests;
  };
  say('scale: each agent signs once');
  await sign(agents, CREATE_SECONDS, agents.length);
  const results: { readonly few: number; readonly all: number; readonly load: number }[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const few = await sign(agents.slice(0, FEW), 1);
    const all = await sign(shuffled(agents), 1);
    const load = (await rawCost(programs, rawTpm, 'context')) - (await rawCost(programs, rawTpm));
    results.push({ few, all, load });
    say(
      `scale ${round}/${rounds}  agents: ${FEW} cost ${few.toFixed(0)} us, ${agents.length} cost ${all.toFixed(0)} us, of which ContextLoad ${load.toFixed(0)} us`,
    );
  }
  return {
    spread: spread(results.map(({ few, all, load }) => (all - load) / (few - load))),
    details: [
      {
        what: `CPU of daemon and TPM per signature, ${FEW} agents in turn, µs`,
        spread: spread(results.map(({ few }) => few)),
      },
      {
        what: `the same, ${agents.length.toLocaleString('en')} agents in random order, µs`,
        spread: spread(results.map(({ all }) => all)),
      },
      {
        what: 'of either, raw ContextLoad and FlushContext, µs',
        spread: spread(results.map(({ load }) => load)),
      },
    ],
  };
}

/** CPU of the raw loop and the TPM per signature. */
async function rawCost(programs: string, { tcti, pid }: InUse['rawTpm'], mode?: 'context'): Promise<number> {
  const before = processCpu(pid);
  const { loaderCpuUs = Number.NaN, requests } = await runRaw(programs, 'esys_sign', [
    tcti,
    1,
    ...(mode === undefined ? [] : [mode]),
  ]);
  return loaderCpuUs + cpuBetween(before, processCpu(pid)).ownUs / requests;
}

async function createAll(
  programs: string,
  dir: string,
  subject: DaemonSubject,
  agents: readonly string[],
): Promise<Sample> {
  const file = join(dir, 'create.http');
  await writeRequests(
    file,
    agents.map((name) => ({
      method: 'POST',
      path: '/v1/agents',
      body: { name, backend: 'tpm', algorithm: 'ES256' },
    })),
  );
  return loadWith(programs, subject, file, {
    connections: CREATE_CONNECTIONS,
    seconds: CREATE_SECONDS,
    maxRequests: agents.length,
  });
}
