/** systemd unit and container of a process, from cgroup paths that only root can make (S10). */

export interface CgroupFacts {
  /** `foo.service` as PID 1 named it. */
  readonly unit?: string;
  /** 64 lower-case hex digits. */
  readonly containerId?: string;
}

const NAME = /^[A-Za-z0-9:_.\\@-]+$/;
const CONTAINER_ID = /^[0-9a-f]{64}$/;
/** Runtimes' scope names under systemd: `<prefix>-<id>.scope`. */
const CONTAINER_SCOPE = /^(?:docker|libpod|crio|cri-containerd|containerd|nerdctl)-([0-9a-f]{64})\.scope$/;

const UNKNOWN: CgroupFacts = {};

/**
 * The one cgroup path that says where a process belongs: the unified hierarchy's and the `name=systemd`
 * hierarchy's, which must agree where both are in use (cgroups(7), `/proc/PID/cgroup`).
 *
 * @returns undefined where the text is not understood or the hierarchies disagree
 */
export function servicePath(procCgroup: string): string | undefined {
  const paths = new Set<string>();
  for (const line of procCgroup.split('\n')) {
    if (line === '') continue;
    const match = /^(\d+):([^:]*):(\/.*)$/.exec(line);
    if (match === null) return undefined;
    const [, hierarchy, controllers, path] = match;
    const counts = (hierarchy === '0' && controllers === '') || controllers === 'name=systemd';
    if (counts && path !== undefined && path !== '/') paths.add(path);
  }
  const [path, ...others] = paths;
  return others.length > 0 ? undefined : path;
}

/**
 * Unit and container of an absolute cgroup path. Only what stands above every delegated subtree counts: the
 * first component that is not a slice was made by PID 1 or by root, what lies below it may be made by
 * anyone; `user.slice` holds subtrees that users manage and gives nothing.
 */
export function cgroupFacts(path: string): CgroupFacts {
  if (!path.startsWith('/')) return UNKNOWN;
  const components = path.slice(1).split('/');
  // "..": a process outside our cgroup namespace; its path is relative to a root that is not root's.
  if (!components.every((component) => NAME.test(component) && component !== '.' && component !== '..')) {
    return UNKNOWN;
  }
  const [first, second] = components;
  if (first === undefined || first === 'user.slice') return UNKNOWN;
  if (first === 'docker' && second !== undefined && CONTAINER_ID.test(second)) {
    return { containerId: second };
  }
  if (first === 'kubepods') return kubepods(components);
  if (!first.endsWith('.slice')) return UNKNOWN;
  return underSlices(components);
}

function underSlices(components: readonly string[]): CgroupFacts {
  const leaf = components.find((component) => !component.endsWith('.slice'));
  if (leaf === undefined) return UNKNOWN;
  const container = CONTAINER_SCOPE.exec(leaf)?.[1];
  if (container !== undefined) return { containerId: container };
  return leaf.endsWith('.service') ? { unit: leaf } : UNKNOWN;
}

/** cgroupfs driver: `/kubepods[/besteffort|/burstable]/pod<uid>/<id>`. */
function kubepods(components: readonly string[]): CgroupFacts {
  const rest = components.slice(components[1] === 'besteffort' || components[1] === 'burstable' ? 2 : 1);
  const [pod, id] = rest;
  if (pod === undefined || id === undefined) return UNKNOWN;
  return /^pod[0-9a-f-]{36}$/.test(pod) && CONTAINER_ID.test(id) ? { containerId: id } : UNKNOWN;
}

/**
 * The part of a cgroup path that the process can not leave by itself: its unit or container, a user's whole slice,
 * or, where the layout is not known, the path as it is. For telling whether two processes belong together (S12),
 * and for nothing else: it names nobody.
 */
export function managedCgroup(path: string): string {
  const { containerId } = cgroupFacts(path);
  if (containerId !== undefined) return `container:${containerId}`;
  const components = path.slice(1).split('/');
  if (components[0] === 'user.slice') return `/${components.slice(0, 2).join('/')}`;
  const leaf = components.findIndex((component) => !component.endsWith('.slice'));
  return leaf <= 0 ? path : `/${components.slice(0, leaf + 1).join('/')}`;
}
