/** What `/proc` tells of a peer process, read so that it can not be another process's (S10). */
import { readFileSync, readlinkSync } from 'node:fs';
import { cgroupFacts, type CgroupFacts } from './cgroup.ts';

/** Inode of the initial cgroup namespace (`PROC_CGROUP_INIT_INO` of the kernel's proc_ns.h). */
const INITIAL_CGROUP_NAMESPACE = 'cgroup:[4026531835]';

/** What is read of a process by its pid alone. */
export interface ProcessRecord {
  /** Clock ticks since boot, decimal text (`/proc/PID/stat` field 22). */
  readonly startTimeTicks: string;
  /** `/proc/PID/uid_map`, which differs from ours in another user namespace. */
  readonly uidMap: string;
}

/**
 * The process with this `/proc/PID`, or undefined where it has ended. It may be another that got the pid later,
 * unless a pidfd says afterwards that the first one lives.
 */
export function readProcess(folder: string): ProcessRecord | undefined {
  try {
    const stat = parseProcStat(readFileSync(`${folder}/stat`, 'latin1'));
    if (stat === undefined || stat.state === 'Z' || stat.state === 'X') return undefined;
    return {
      startTimeTicks: stat.startTimeTicks,
      uidMap: normalizeMap(readFileSync(`${folder}/uid_map`, 'latin1')),
    };
  } catch {
    // ENOENT or ESRCH: it ended while we read.
    return undefined;
  }
}

/** Unit and container of a process with this cgroup path; nothing where our own view is not the host's. */
export function hostCgroupFacts(cgroupPath: string | undefined, proc = '/proc'): CgroupFacts {
  return cgroupPath === undefined || !inInitialCgroupNamespace(proc) ? {} : cgroupFacts(cgroupPath);
}

/** The uid map of this process. */
export function ownUidMap(proc = '/proc'): string {
  return normalizeMap(readFileSync(`${proc}/self/uid_map`, 'latin1'));
}

/** The uid that stands for every uid without a mapping into our user namespace. */
export function overflowUid(proc = '/proc'): number {
  return Number.parseInt(readFileSync(`${proc}/sys/kernel/overflowuid`, 'latin1'), 10);
}

/**
 * State and start time of a `/proc/PID/stat` line. The second field is the program's name in parentheses
 * and may itself hold spaces and parentheses, so fields are counted from the last one.
 */
export function parseProcStat(text: string): { state: string; startTimeTicks: string } | undefined {
  const end = text.lastIndexOf(')');
  if (end < 0) return undefined;
  const fields = text
    .slice(end + 1)
    .trim()
    .split(' ');
  const [state, startTimeTicks] = [fields[0], fields[19]];
  if (state === undefined || startTimeTicks === undefined || !/^\d+$/.test(startTimeTicks)) return undefined;
  return { state, startTimeTicks };
}

// Read each time: a process may be moved into another namespace only by itself, and this is one readlink.
function inInitialCgroupNamespace(proc: string): boolean {
  try {
    return readlinkSync(`${proc}/self/ns/cgroup`) === INITIAL_CGROUP_NAMESPACE;
  } catch {
    return false;
  }
}

function normalizeMap(text: string): string {
  return text.trim().replace(/[ \t]+/g, ' ');
}
