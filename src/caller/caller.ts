/** Who is calling, by the kernel's word only (S10). */

/** The socket a connection came in on. An agent socket serves its agent and descendants only (S11). */
export type Ingress =
  | { readonly kind: 'shared' }
  | { readonly kind: 'admin' }
  | { readonly kind: 'agent'; readonly agentName: string };

/**
 * Kernel facts about a peer, read again per request. A fact that can not be known for sure is absent,
 * and an absent fact matches nothing.
 */
export interface Caller {
  readonly ingress: Ingress;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly pid: number;
  /** Start time in clock ticks since boot (`/proc/PID/stat` field 22), as decimal text. */
  readonly startTimeTicks?: string;
  /** SHA-256 of the executable, lower-case hex; recorded and narrowing only. */
  readonly executableSha256?: string;
  /** systemd unit from an anchored cgroup path outside user-delegated subtrees. */
  readonly unit?: string;
  /** Container id from an anchored cgroup path. */
  readonly containerId?: string;
  /** What root manages of its cgroup path, also where that names no unit or container: only to compare two callers. */
  readonly cgroup?: string;
}

/** The share of a caller for queues and quotas: uid or root-managed cgroup, never pid or connection (S20). */
export function callerShare(caller: Caller): string {
  if (caller.containerId !== undefined) return `container:${caller.containerId}`;
  if (caller.unit !== undefined) return `unit:${caller.unit}:${caller.uid}`;
  return `uid:${caller.uid}`;
}

/** The caller as nobody can change it any more: itself where it is so already, or a copy. */
export function frozenCaller(caller: Caller): Caller {
  const { ingress, groups } = caller;
  if (Object.isFrozen(caller) && Object.isFrozen(ingress) && Object.isFrozen(groups)) return caller;
  return Object.freeze({
    ...caller,
    ingress: Object.freeze({ ...ingress }),
    groups: Object.freeze([...groups]),
  });
}
