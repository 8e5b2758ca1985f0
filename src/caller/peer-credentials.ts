/** What the kernel says of the peer of a Unix socket, and whether it still holds: the only import of `peercred.node`. */
import type { Socket } from 'node:net';
import { addonLoader } from '../base/load-addon.ts';
import { KeydError } from '../wire/problem.ts';
import type { FileIdentity } from './executable-hash.ts';

/** As recorded by the kernel when the peer connected (SO_PEERCRED, SO_PEERGROUPS; unix(7)). */
export interface KernelPeer {
  readonly uid: number;
  readonly gid: number;
  /** 0 where the peer's pid namespace is not below ours. */
  readonly pid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
  /** File descriptor that pins the pid (SO_PEERPIDFD); absent before Linux 6.5 and once the peer is gone. */
  readonly pidfd?: number;
}

/** What can change of a process while a connection of its is open: as it was when the watch began, and whether it still is. */
export interface ProcessWatch {
  /** The file that it runs; undefined where that may not be read (CAP_SYS_PTRACE, DECISIONS 9). */
  readonly executable: FileIdentity | undefined;
  /** The text of `/proc/PID/cgroup`, octets as characters. */
  readonly cgroup: string;
  /**
   * The first that is not as it was, asked of the kernel now; undefined where all hold. What can not be found out
   * does not hold. `process`: it has exited, as its pidfd says; never where there is none.
   */
  changed(): 'process' | 'executable' | 'cgroup' | undefined;
  close(): void;
}

interface NativeModule {
  readonly peerCredentials: (fd: number) => KernelPeer;
  readonly WatchedProcess: new (pidfd: number | undefined, folder: string) => ProcessWatch;
}

const native = addonLoader('peercred', 'internal') as () => NativeModule;

/**
 * The peer of the connected Unix socket `fd`; `pidfd` is the caller's, to be given to `watchProcess`.
 * @throws KeydError `caller_unknown` if the descriptor is no connected Unix socket
 */
export function readPeer(fd: number): KernelPeer {
  try {
    return native().peerCredentials(fd);
  } catch (cause) {
    throw cause instanceof KeydError ? cause : unknown('the kernel does not say who it is', cause);
  }
}

/**
 * Watches the process with this `/proc/PID`. Takes `pidfd` over, and closes it with the watch or where there can be none.
 * @throws the system error where the process has ended or can not be seen
 */
export function watchProcess(pidfd: number | undefined, folder: string): ProcessWatch {
  return new (native().WatchedProcess)(pidfd, folder);
}

/**
 * File descriptor of an open socket. Node has no public name for it; where its private one is missing
 * nobody is identified. @throws KeydError `caller_unknown`
 */
export function socketFd(socket: Socket): number {
  const handle = (socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null })._handle;
  const fd = handle?.fd;
  if (typeof fd !== 'number' || !Number.isInteger(fd) || fd < 0) throw unknown('the socket is not open');
  return fd;
}

function unknown(why: string, cause?: unknown): KeydError {
  return new KeydError('caller_unknown', `The caller is unknown: ${why}`, { cause });
}
