/** CPU time and memory of processes, from procfs. */
import { readdirSync, readFileSync } from 'node:fs';

/** CPU time in microseconds, of all threads that live. */
export interface ProcessCpu {
  readonly ownUs: number;
  /** Of those, its main thread's. */
  readonly mainThreadUs: number;
  /** Of child processes that live: the daemon's module hosts. */
  readonly childrenUs: number;
}

export function processCpu(pid: number): ProcessCpu {
  return {
    ownUs: cpuUs(pid),
    mainThreadUs: threadCpuUs(pid, pid),
    childrenUs: childrenOf(pid).reduce((sum, child) => sum + cpuUs(child), 0),
  };
}

export function cpuBetween(before: ProcessCpu, after: ProcessCpu): ProcessCpu {
  return {
    ownUs: after.ownUs - before.ownUs,
    mainThreadUs: after.mainThreadUs - before.mainThreadUs,
    childrenUs: after.childrenUs - before.childrenUs,
  };
}

/** Resident memory of one process, MiB. */
export function residentMiB(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? Number.NaN) / 1024;
}

function cpuUs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => sum + threadCpuUs(pid, task), 0);
}

/** First field of schedstat: nanoseconds on a CPU, where /proc/PID/stat counts in hundredths of a second. */
function threadCpuUs(pid: number, task: number | string): number {
  const [ns = '0'] = (readIfThere(`/proc/${pid}/task/${task}/schedstat`) ?? '').split(' ');
  return Number(ns) / 1000;
}

function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    (readIfThere(`/proc/${pid}/task/${task}/children`) ?? '').split(' ').filter(Boolean).map(Number),
  );
}

/** A thread may end between the listing and the reading. */
function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
