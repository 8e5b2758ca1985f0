/** From an accepted connection to a Caller, by the kernel's word only, anew for every request (S10). */
import { KeydError } from '../wire/problem.ts';
import { callerShare, frozenCaller, type Caller, type Ingress } from './caller.ts';
import { managedCgroup } from './cgroup.ts';
import { ExecutableHashes } from './executable-hash.ts';
import type { KernelPeer } from './peer-credentials.ts';
import { hostCgroupFacts, overflowUid, ownUidMap, type ProcessRecord } from './process-info.ts';
import { WatchedProcess } from './watched-process.ts';

export interface CallerIdentifierOptions {
  /** Credentials of a connected Unix socket, whose pidfd becomes ours; throws where it is none. */
  readonly readPeer: (fd: number) => KernelPeer;
  /** uids admitted although they are the overflow uid or call from another user namespace. */
  readonly admittedUids: readonly number[];
  /** Where procfs is mounted. */
  readonly proc?: string;
}

/** Makes a `PeerConnection` of every accepted socket. */
export class CallerIdentifier {
  readonly #options: CallerIdentifierOptions;
  readonly #proc: string;
  readonly #hashes = new ExecutableHashes();
  readonly #ownUidMap: string;
  readonly #overflowUid: number;
  readonly #admitted: ReadonlySet<number>;

  constructor(options: CallerIdentifierOptions) {
    this.#options = options;
    this.#proc = options.proc ?? '/proc';
    this.#ownUidMap = ownUidMap(this.#proc);
    this.#overflowUid = overflowUid(this.#proc);
    this.#admitted = new Set(options.admittedUids);
  }

  /**
   * Reads who is at the other end of an accepted socket, before anything it sent is read.
   * @throws KeydError `caller_unknown`
   */
  connect(fd: number, ingress: Ingress): PeerConnection {
    let peer: KernelPeer;
    try {
      peer = this.#options.readPeer(fd);
    } catch (cause) {
      throw unknown('the kernel names no peer for this connection', cause);
    }
    const watched = WatchedProcess.open(peer, this.#proc);
    if (watched === undefined) {
      throw unknown('the process that connected has ended or can not be seen from here');
    }
    try {
      this.#refuseForeignUser(peer);
      this.#refuseForeignNamespace(peer, watched.facts);
      return new PeerConnection(peer, ingress, watched, { proc: this.#proc, hashes: this.#hashes });
    } catch (thrown) {
      watched.close();
      throw thrown;
    }
  }

  #refuseForeignUser(peer: KernelPeer): void {
    if (peer.uid === this.#overflowUid && !this.#admitted.has(peer.uid)) {
      throw unknown(`uid ${peer.uid} stands for every user without a uid here; no rule admits it`);
    }
  }

  #refuseForeignNamespace(peer: KernelPeer, { uidMap }: ProcessRecord): void {
    if (uidMap !== this.#ownUidMap && !this.#admitted.has(peer.uid)) {
      throw unknown(`the caller is in another user namespace; no rule admits uid ${peer.uid} from there`);
    }
  }
}

interface Tools {
  readonly proc: string;
  readonly hashes: ExecutableHashes;
}

/** One accepted connection and the process that opened it. */
export class PeerConnection {
  /** Everything but the executable, which takes time to hash. */
  readonly #known: Caller;
  readonly #process: WatchedProcess;
  readonly #tools: Tools;
  #caller: Caller | Promise<Caller> | undefined;
  #closed = false;

  constructor(peer: KernelPeer, ingress: Ingress, watched: WatchedProcess, tools: Tools) {
    const { uid, gid, pid, groups, pidfd } = peer;
    const { cgroupPath } = watched.facts;
    // Without the pin nothing read by pid is sure to be the peer's.
    const pinned =
      pidfd === undefined
        ? {}
        : {
            startTimeTicks: watched.facts.startTimeTicks,
            ...hostCgroupFacts(cgroupPath, tools.proc),
            ...(cgroupPath === undefined ? {} : { cgroup: managedCgroup(cgroupPath) }),
          };
    this.#known = frozenCaller({ ingress, uid, gid, groups, pid, ...pinned });
    this.#process = watched;
    this.#tools = tools;
  }

  /** Whose share of queues and quotas this connection takes from; never changes (S20). */
  get share(): string {
    return callerShare(this.#known);
  }

  /**
   * Who is calling now; a promise only until the executable is hashed. The connection must be closed when this
   * throws: the process has ended or become another (start time, executable, cgroup), so what was learnt at connect
   * time is void.
   *
   * @throws KeydError `caller_unknown`
   */
  identify(): Caller | Promise<Caller> {
    if (this.#closed) throw unknown('the connection is closed');
    const changed = this.#process.changed();
    if (changed === 'process') throw unknown('the process that opened this connection has ended');
    if (changed !== undefined) {
      throw unknown(`the ${changed} of the process that opened this connection has changed; connect again`);
    }
    return (this.#caller ??= this.#describe());
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#process.close();
  }

  #describe(): Caller | Promise<Caller> {
    const { executable } = this.#process.facts;
    return executable === undefined || this.#known.startTimeTicks === undefined
      ? this.#known
      : this.#withHash(executable);
  }

  async #withHash(executable: string): Promise<Caller> {
    const link = `${this.#tools.proc}/${this.#known.pid}/exe`;
    const executableSha256 = await this.#tools.hashes.hash(link, executable);
    this.#caller =
      executableSha256 === undefined ? this.#known : frozenCaller({ ...this.#known, executableSha256 });
    return this.#caller;
  }
}

function unknown(message: string, cause?: unknown): KeydError {
  return new KeydError('caller_unknown', message, { cause });
}
