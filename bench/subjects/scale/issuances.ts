/** Attested issuances a second on one issuer core: real signatures on both sides, chains that the issuer has seen. */
import { join } from 'node:path';
import { cpuBetween, processCpu } from '../../harness/process-cpu.ts';
import { writeRequests } from '../../harness/requests.ts';
import { spread } from '../../harness/stats.ts';
import { loadWith } from '../daemon.ts';
import type { BenchSandbox } from '../sandbox.ts';
import type { ScaleContext, Scaled } from './context.ts';

/** Key in the TPM, so that every issuance is certified by the AK. */
const AGENT = 'p256-tpm';
/** The daemon renews the credentials of an agent one after the other; the issuer's CPU is what counts. */
const CONNECTIONS = 2;

/**
 * The issuer's CPU time per issuance, its module hosts' included, and what one core could do in a second by it.
 * The host's TPM is slower than the issuer, so that the rate on the wire tells nothing of the issuer.
 */
export async function measureIssuances(
  { dir, programs, rounds, say }: ScaleContext,
  { full, issuerPid }: BenchSandbox,
): Promise<Scaled> {
  const file = join(dir, 'issuances.http');
  await writeRequests(file, [{ method: 'POST', path: `/v1/agents/${AGENT}/credentials`, body: {} }]);
  const load = { connections: CONNECTIONS, seconds: 2 };
  await loadWith(programs, full, file, load);
  const results: { readonly own: number; readonly hosts: number; readonly perS: number }[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const before = processCpu(issuerPid);
    const { requests, opsPerS } = await loadWith(programs, full, file, load);
    const { ownUs, childrenUs } = cpuBetween(before, processCpu(issuerPid));
    const result = { own: ownUs / requests, hosts: childrenUs / requests, perS: opsPerS };
    results.push(result);
    say(
      `scale ${round}/${rounds}  issuance: issuer CPU ${result.own.toFixed(0)} us and ${result.hosts.toFixed(0)} us in its module hosts; ${opsPerS.toFixed(0)}/s from one host`,
    );
  }
  return {
    spread: spread(results.map(({ own, hosts }) => 1e6 / (own + hosts))),
    details: [
      { what: 'issuer CPU per attested issuance, µs', spread: spread(results.map(({ own }) => own)) },
      { what: 'CPU of its module hosts per issuance, µs', spread: spread(results.map(({ hosts }) => hosts)) },
      {
        what: 'attested issuances a second from one host, its TPM included',
        spread: spread(results.map(({ perS }) => perS)),
      },
    ],
  };
}
