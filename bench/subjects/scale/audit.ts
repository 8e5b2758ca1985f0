/** What a signature costs after a million audit entries, over the first ten thousand. */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeRequests } from '../../harness/requests.ts';
import { spread } from '../../harness/stats.ts';
import { createAgent, daemonCpuUs, loadWith, signRequest } from '../daemon.ts';
import { configure, provision, provisionedAt, startLone, type Provisioned } from '../lone-daemon.ts';
import { writeAuditEntries } from './audit-entries.ts';
import type { ScaleContext, Scaled } from './context.ts';

const AGENT = 'p256-pkcs11';
const CONNECTIONS = 8;
/** A signature makes two entries: both together stay within the first ten thousand. */
const WARM_UP = 1_500;
const MEASURED = 3_000;
const MAX_SECONDS = 120;

/**
 * CPU of the daemon per signature. Before every measurement the daemon is started and warmed up by as many
 * signatures, so that both have run as long; the young one begins with an empty log each time.
 */
export async function measureAudit({ dir, programs, sizes, rounds, say }: ScaleContext): Promise<Scaled> {
  const entries = sizes.auditEntries;
  const file = join(dir, 'audit.http');
  await writeRequests(file, [signRequest(AGENT, 'http-message')]);
  const pristine = join(dir, 'pristine');
  const made = await provision(pristine, { token: true });
  const maker = await startLone('maker', made);
  await createAgent(maker.subject, AGENT, 'pkcs11', 'ES256');
  await maker.stop();
  const old = await copyOf(pristine, join(dir, 'old'));
  say(`scale: writing ${entries} audit entries`);
  await writeAuditEntries(old.configFile, entries);

  const cost = async (daemon: Provisioned): Promise<{ readonly us: number; readonly readyS: number }> => {
    const { subject, readyS, stop } = await startLone('audit', daemon);
    try {
      const load = { connections: CONNECTIONS, seconds: MAX_SECONDS };
      await loadWith(programs, subject, file, { ...load, maxRequests: WARM_UP });
      const us = daemonCpuUs(await loadWith(programs, subject, file, { ...load, maxRequests: MEASURED }));
      return { us, readyS };
    } finally {
      await stop();
    }
  };
  const results: { readonly young: number; readonly old: number; readonly readyS: number }[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const young = await copyOf(pristine, join(dir, 'young'));
    const first = await cost(young);
    const then = await cost(old);
    await rm(young.dir, { recursive: true });
    results.push({ young: first.us, old: then.us, readyS: then.readyS });
    say(
      `scale ${round}/${rounds}  audit: ${first.us.toFixed(0)} us at first, ${then.us.toFixed(0)} us after ${entries} entries (ready after ${then.readyS.toFixed(2)} s)`,
    );
  }
  const many = entries.toLocaleString('en');
  return {
    spread: spread(results.map(({ young, old: aged }) => aged / young)),
    details: [
      {
        what: 'daemon CPU per signature within the first 10,000 entries, µs',
        spread: spread(results.map(({ young }) => young)),
      },
      { what: `the same after ${many} entries, µs`, spread: spread(results.map(({ old: aged }) => aged)) },
      {
        what: `start to READY with ${many} audit entries, s`,
        spread: spread(results.map(({ readyS }) => readyS)),
      },
    ],
  };
}

/** The whole state of a daemon that does not run, with its configuration for the new place. */
async function copyOf(from: string, to: string): Promise<Provisioned> {
  await cp(from, to, { recursive: true, preserveTimestamps: true, filter: (path) => !path.endsWith('/s') });
  await configure(to, { token: true });
  return provisionedAt(to);
}
