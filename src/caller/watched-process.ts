/** The process at the other end of a connection: its facts once, and after that only whether they still hold. */
import { identityText } from './executable-hash.ts';
import { servicePath } from './cgroup.ts';
import { watchProcess, type KernelPeer, type ProcessWatch } from './peer-credentials.ts';
import { readProcess, type ProcessRecord } from './process-info.ts';

/** Facts of one moment. */
export interface ProcessFacts extends ProcessRecord {
  /** See `identityText`; absent where it may not be read. */
  readonly executable?: string;
  readonly cgroupPath?: string;
}

export class WatchedProcess {
  readonly facts: ProcessFacts;
  readonly #watch: ProcessWatch;
  /** Where to look whether the pid is another's by now; undefined where a pidfd pins the process. */
  readonly #unpinned: string | undefined;

  private constructor(facts: ProcessFacts, watch: ProcessWatch, unpinned: string | undefined) {
    this.facts = facts;
    this.#watch = watch;
    this.#unpinned = unpinned;
  }

  /** Takes the peer's pidfd over. Undefined where the process has ended or can not be seen. */
  static open({ pid, pidfd }: KernelPeer, proc: string): WatchedProcess | undefined {
    const folder = `${proc}/${pid}`;
    let watch: ProcessWatch;
    try {
      // A pid of 0 stands for a process that is none of ours to see, and has no folder.
      watch = watchProcess(pidfd, folder);
    } catch {
      // ENOENT, ESRCH: it ended while we looked.
      return undefined;
    }
    const record = readProcess(folder);
    // Asked last, so that a pinned process is the one of all facts.
    if (record === undefined || watch.changed() !== undefined) {
      watch.close();
      return undefined;
    }
    const { executable } = watch;
    const cgroupPath = servicePath(watch.cgroup);
    const facts = {
      ...record,
      ...(executable === undefined ? {} : { executable: identityText(executable) }),
      ...(cgroupPath === undefined ? {} : { cgroupPath }),
    };
    return new WatchedProcess(facts, watch, pidfd === undefined ? folder : undefined);
  }

  /**
   * What is not as it was: the name of the fact, or undefined where all holds. A pinned process can not have
   * become another, so that it is only asked whether it lives, runs the same program and is in the same cgroup.
   */
  changed(): 'process' | 'start time' | 'executable' | 'cgroup' | undefined {
    if (this.#unpinned !== undefined) {
      const now = readProcess(this.#unpinned);
      if (now === undefined) return 'process';
      if (now.startTimeTicks !== this.facts.startTimeTicks) return 'start time';
    }
    return this.#watch.changed();
  }

  close(): void {
    this.#watch.close();
  }
}
