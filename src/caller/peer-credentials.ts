/** What the kernel says of the peer of a Unix socket: the only import of `peercred.node`. */
import type { Socket } from 'node:net';
import { addonLoader } from '../base/load-addon.ts';
import { KeydError } from '../wire/problem.ts';

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

/** `KernelPeer` with a pidfd that closes itself when it is dropped. */
export interface PeerCredentials extends Omit<KernelPeer, 'pidfd'> {
  readonly pidfd?: PidFd;
}

interface NativeModule {
  readonly peerCredentials: (fd: number) => KernelPeer;
  readonly isAlive: (pidfd: number) => boolean;
  readonly close: (fd: number) => void;
}

const native = addonLoader('peercred', 'internal') as () => NativeModule;

/**
 * The peer of the connected Unix socket `fd`; the caller closes `pidfd`.
 * @throws KeydError `caller_unknown` if the descriptor is no connected Unix socket
 */
export function readPeer(fd: number): KernelPeer {
  try {
    return native().peerCredentials(fd);
  } catch (cause) {
    throw cause instanceof KeydError ? cause : unknown('the kernel does not say who it is', cause);
  }
}

/** Closes a pidfd that `readPeer` returned. */
export function closePidfd(pidfd: number): void {
  native().close(pidfd);
}

/** Whether the process of a pidfd still runs; a zombie does not. */
export function isPidfdAlive(pidfd: number): boolean {
  return native().isAlive(pidfd);
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

/** The peer of a connected Unix socket. @throws KeydError `caller_unknown` */
export function readPeerCredentials(socket: Socket): PeerCredentials {
  const { pidfd, ...peer } = readPeer(socketFd(socket));
  return pidfd === undefined ? peer : { ...peer, pidfd: new PidFd(pidfd) };
}

const droppedPidFds = new FinalizationRegistry<number>(closePidfd);

/** An owned pidfd, pidfd_open(2). */
export class PidFd {
  #fd: number | undefined;

  constructor(fd: number) {
    this.#fd = fd;
    droppedPidFds.register(this, fd, this);
  }

  /** Undefined once closed. */
  get fd(): number | undefined {
    return this.#fd;
  }

  /** False once the process has exited, and once this is closed. */
  isAlive(): boolean {
    return this.#fd !== undefined && isPidfdAlive(this.#fd);
  }

  close(): void {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    droppedPidFds.unregister(this);
    closePidfd(fd);
  }
}

function unknown(why: string, cause?: unknown): KeydError {
  return new KeydError('caller_unknown', `The caller is unknown: ${why}`, { cause });
}
