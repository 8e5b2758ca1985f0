/** What a delegation costs: a sub-agent with a key of its own in the TPM, certified, and the link its parent signs. */
import { join } from 'node:path';
import { writeRequests } from '../../harness/requests.ts';
import { spread } from '../../harness/stats.ts';
import { daemonCpuUs, loadWith } from '../daemon.ts';
import type { BenchSandbox } from '../sandbox.ts';
import type { Detail, ScaleContext } from './context.ts';

const PARENT = 'p256-tpm';
const PER_ROUND = 50;
const MAX_SECONDS = 120;

/** Ephemeral sub-agents, one after the other over one connection; all of them end with it. */
export async function measureDelegations(
  { dir, programs, rounds, say }: ScaleContext,
  { full }: BenchSandbox,
): Promise<readonly Detail[]> {
  const file = join(dir, 'delegations.http');
  const body = { name: 'job', scopes: ['*'], aud: ['*'], constraints: [], expiresIn: 600, ephemeral: true };
  await writeRequests(file, [{ method: 'POST', path: `/v1/agents/${PARENT}/delegations`, body }]);
  const results: { readonly ms: number; readonly us: number }[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const load = { connections: 1, seconds: MAX_SECONDS, maxRequests: PER_ROUND };
    const sample = await loadWith(programs, full, file, load);
    results.push({ ms: sample.p50Us / 1000, us: daemonCpuUs(sample) });
    say(`scale ${round}/${rounds}  delegation: p50 ${(sample.p50Us / 1000).toFixed(1)} ms`);
  }
  return [
    {
      what: 'delegating to an ephemeral sub-agent in the TPM, p50, ms',
      spread: spread(results.map(({ ms }) => ms)),
    },
    { what: 'daemon CPU of one delegation, µs', spread: spread(results.map(({ us }) => us)) },
  ];
}
