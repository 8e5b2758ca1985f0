/**
 * Attested issuances a second on one issuer core: an issuer of its own, as it ships, with more hosts asking than it
 * can serve. Every signature is real on both sides; only the hosts' TPMs are not (bench/fleet).
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  initialiseIssuerKeys,
  provisionIssuer,
  SANDBOX_GRANT,
  startIssuerProcess,
  writeHosts,
} from '../../../scripts/sandbox/issuer.ts';
import { makeSofthsmToken } from '../../../scripts/sandbox/softhsm.ts';
import { startFleet, type Fleet } from '../../fleet/fleet.ts';
import { cpuBetween, processCpu } from '../../harness/process-cpu.ts';
import { spread } from '../../harness/stats.ts';
import type { Detail, ScaleContext, Scaled } from './context.ts';
import { freePort } from '../../../scripts/sandbox/free-port.ts';

const PIN = 'bench-1234';
const READY_TIMEOUT_MS = 60_000;
/** As many as wait for the issuer at any time: each has one issuance under way, as a daemon has. */
const HOSTS = 32;
/** An operator's configuration for hosts behind one address; per host and hour it stays what ships. */
const LIMITS = {
  enrolments_per_network_per_minute: 1000,
  requests_per_host_per_minute: 10_000,
  issuances_per_host_per_minute: 10_000,
};

interface Round {
  /** CPU per issuance, µs: the issuer's, its module hosts' and the fleet's. */
  readonly own: number;
  readonly moduleHosts: number;
  readonly fleet: number;
  readonly perS: number;
  readonly p50Ms: number;
}

/** Issuances for one second of CPU of the issuer and its module hosts together. */
export async function measureIssuerCore(context: ScaleContext): Promise<Scaled> {
  const { dir, sizes, rounds, say } = context;
  const fleet = startFleet();
  const stops: (() => Promise<void>)[] = [() => fleet.stop()];
  try {
    const issuer = await startIssuerFor(fleet, dir, sizes.fleetAgents);
    stops.push(() => issuer.stop());
    say(`scale: first credentials of ${HOSTS * sizes.fleetAgents} agents on ${HOSTS} hosts`);
    // Binds their names and keys, and warms the issuer up.
    await fleet.issue(Infinity, sizes.fleetAgents);
    const results: Round[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const result = await measureRound(fleet, issuer.pid, sizes.fleetSeconds);
      const { own, moduleHosts, perS } = result;
      say(
        `scale ${round}/${rounds}  issuer core: ${own.toFixed(0)} us and ${moduleHosts.toFixed(0)} us in its module hosts; ${perS.toFixed(0)}/s`,
      );
      results.push(result);
    }
    const of = (what: string, pick: (round: Round) => number): Detail => ({
      what,
      spread: spread(results.map(pick)),
    });
    return {
      spread: spread(results.map(({ own, moduleHosts }) => 1e6 / (own + moduleHosts))),
      details: [
        of(`issuer CPU per attested issuance, ${HOSTS} hosts at once, µs`, ({ own }) => own),
        of('CPU of its module hosts per issuance, µs', ({ moduleHosts }) => moduleHosts),
        of('CPU of the hosts that ask, on the same cores, µs', ({ fleet: spent }) => spent),
        of('attested issuances a second then', ({ perS }) => perS),
        of('one of them, p50, ms', ({ p50Ms }) => p50Ms),
      ],
    };
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

async function measureRound(fleet: Fleet, issuerPid: number, seconds: number): Promise<Round> {
  const before = { issuer: processCpu(issuerPid), fleet: processCpu(fleet.pid) };
  const { issued, seconds: took, p50Ms } = await fleet.issue(seconds);
  const { ownUs, childrenUs } = cpuBetween(before.issuer, processCpu(issuerPid));
  const fleetUs = cpuBetween(before.fleet, processCpu(fleet.pid)).ownUs;
  return {
    own: ownUs / issued,
    moduleHosts: childrenUs / issued,
    fleet: fleetUs / issued,
    perS: issued / took,
    p50Ms,
  };
}

async function startIssuerFor(fleet: Fleet, dir: string, agentsPerHost: number) {
  const made = await fleet.make(HOSTS, agentsPerHost);
  const at = (name: string): string => join(dir, name);
  await mkdir(at('token'), { recursive: true });
  await writeFile(at('roots.pem'), made.root);
  await writeFile(at('intermediates.pem'), made.intermediate);
  const issuer = await provisionIssuer({
    dir: at('issuer'),
    port: await freePort(),
    token: await makeSofthsmToken(at('token'), { tokenLabel: 'issuer', userPin: PIN, soPin: `${PIN}-so` }),
    userPin: PIN,
    testRootsFile: at('roots.pem'),
    intermediatesFile: at('intermediates.pem'),
    limits: LIMITS,
  });
  await writeHosts(
    issuer.hostsFile,
    made.hosts.map(({ label, ekSha256 }) => ({
      label,
      ekSha256,
      namePatterns: ['*'],
      principal: `${label}@bench.test`,
      grant: SANDBOX_GRANT,
    })),
  );
  await initialiseIssuerKeys(issuer.configFile);
  const running = await startIssuerProcess(issuer, { timeoutMs: READY_TIMEOUT_MS, log: 'ignore' });
  try {
    await fleet.enrol({ url: issuer.url, ca: await readFile(issuer.caFile, 'utf8') });
    return running;
  } catch (thrown) {
    await running.stop();
    throw thrown;
  }
}
