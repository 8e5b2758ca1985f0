/** The fleet as the bench holds it: a process of its own, so that its CPU time is not the issuer's nor the bench's. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { FleetIssuer } from './fleet-host.ts';
import type { FleetAnswer, FleetRequest, IssuedToFleet, MadeFleet } from './messages.ts';

const PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url));

/** Calls reject with what failed in the fleet. One at a time. */
export interface Fleet {
  readonly pid: number;
  make(hosts: number, agentsPerHost: number): Promise<MadeFleet>;
  enrol(issuer: FleetIssuer): Promise<void>;
  issue(seconds: number, perHost?: number): Promise<IssuedToFleet>;
  stop(): Promise<void>;
}

export function startFleet(): Fleet {
  const child = fork(PROGRAM, { serialization: 'advanced' });
  const ended = once(child, 'exit').then((): FleetAnswer => ({ failure: 'the fleet ended by itself' }));
  const ask = async (request: FleetRequest): Promise<unknown> => {
    const answered = once(child, 'message').then(([message]) => message as FleetAnswer);
    child.send(request);
    const told = await Promise.race([answered, ended]);
    if ('failure' in told) throw new Error(told.failure);
    return told.result;
  };
  return {
    pid: child.pid ?? 0,
    make: async (hosts, agentsPerHost) => (await ask({ what: 'make', hosts, agentsPerHost })) as MadeFleet,
    enrol: async (issuer) => {
      await ask({ what: 'enrol', issuer });
    },
    issue: async (seconds, perHost = Number.MAX_SAFE_INTEGER) =>
      (await ask({ what: 'issue', seconds, perHost })) as IssuedToFleet,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.disconnect();
      await ended;
    },
  };
}
