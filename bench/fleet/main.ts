/**
 * The process of the fleet: many hosts that ask one issuer for credentials, all at once. What they send is what the
 * daemon sends, made by the daemon's code; only their TPMs are OpenSSL's (openssl-tpm.ts). Driven by fleet.ts.
 */
import { FleetHost, type FleetIssuer } from './fleet-host.ts';
import type { FleetAnswer, FleetRequest, IssuedToFleet, MadeFleet } from './messages.ts';
import { makeManufacturer } from './test-manufacturer.ts';

let fleet: readonly FleetHost[] = [];

async function make(hosts: number, agentsPerHost: number): Promise<MadeFleet> {
  const manufacturer = makeManufacturer();
  fleet = Array.from({ length: hosts }, (_, number) => new FleetHost(`fleet-${number}`, manufacturer));
  for (const host of fleet) await host.makeAgents(agentsPerHost);
  return {
    hosts: fleet.map(({ label, ekSha256 }) => ({ label, ekSha256 })),
    root: manufacturer.root,
    intermediate: manufacturer.intermediate,
  };
}

async function enrol(issuer: FleetIssuer): Promise<undefined> {
  // Only so many enrolments of one network may be open at once.
  for (const host of fleet) await host.enrol(issuer);
}

async function issue(seconds: number, perHost: number): Promise<IssuedToFleet> {
  const tookMs: number[] = [];
  const startedMs = performance.now();
  const endsMs = startedMs + seconds * 1000;
  await Promise.all(
    fleet.map(async (host) => {
      for (let issued = 0; issued < perHost && performance.now() < endsMs; issued += 1) {
        const askedMs = performance.now();
        await host.issue();
        tookMs.push(performance.now() - askedMs);
      }
    }),
  );
  const elapsedMs = performance.now() - startedMs;
  tookMs.sort((a, b) => a - b);
  const at = (share: number): number => tookMs[Math.floor(tookMs.length * share)] ?? Number.NaN;
  return { issued: tookMs.length, seconds: elapsedMs / 1000, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function answer(request: FleetRequest): Promise<MadeFleet | IssuedToFleet | undefined> {
  switch (request.what) {
    case 'make':
      return make(request.hosts, request.agentsPerHost);
    case 'enrol':
      return enrol(request.issuer);
    case 'issue':
      return issue(request.seconds, request.perHost);
  }
}

function tell(told: FleetAnswer): void {
  process.send?.(told);
}

process.on('message', (request: FleetRequest) => {
  answer(request).then(
    (result) => {
      tell({ result });
    },
    (thrown: unknown) => {
      tell({ failure: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown) });
    },
  );
});
process.once('disconnect', () => {
  for (const host of fleet) host.close();
});
