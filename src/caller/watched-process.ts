/** The process at the other end of a connection: its facts once, and after that only whether they still hold. */
import { closeSync, openSync, readSync } from 'node:fs';
import { executableIdentity } from './executable-hash.ts';
import { readProcess, type ProcessSnapshot } from './process-info.ts';

/** Longer than any `/proc/PID/cgroup` there is; what is cut off is cut off in both readings. */
const CGROUP_OCTETS = 16 * 1024;
/** One for all: a reading is compared or copied before the next. */
const scratch = Buffer.alloc(CGROUP_OCTETS);

export class WatchedProcess {
  readonly facts: ProcessSnapshot;
  readonly #pid: number;
  readonly #isAlive: (() => boolean) | undefined;
  readonly #proc: string;
  /** Bound to this process and to none that gets its pid later; open as long as the connection. */
  readonly #cgroupFile: number;
  readonly #cgroup: Buffer;

  private constructor(
    facts: ProcessSnapshot,
    pid: number,
    isAlive: (() => boolean) | undefined,
    proc: string,
    cgroupFile: number,
  ) {
    this.facts = facts;
    this.#pid = pid;
    this.#isAlive = isAlive;
    this.#proc = proc;
    this.#cgroupFile = cgroupFile;
    this.#cgroup = Buffer.from(this.#readCgroup());
  }

  /**
   * Undefined where the process has ended or can not be seen.
   * @param isAlive whether the process of the pidfd still runs; left out where there is none
   */
  static open(pid: number, isAlive: (() => boolean) | undefined, proc: string): WatchedProcess | undefined {
    let cgroupFile: number | undefined;
    try {
      cgroupFile = openSync(`${proc}/${pid}/cgroup`, 'r');
      // Read after the file was opened, so that a pinned process is the one of both.
      const facts = readProcess(pid, isAlive, proc);
      if (facts !== undefined) return new WatchedProcess(facts, pid, isAlive, proc, cgroupFile);
    } catch {
      // ENOENT, ESRCH: it ended while we looked.
    }
    if (cgroupFile !== undefined) closeSync(cgroupFile);
    return undefined;
  }

  /**
   * What is not as it was: the name of the fact, or undefined where all holds. A pinned process can not have
   * become another, so that it is only asked whether it lives, runs the same program and is in the same cgroup.
   */
  changed(): 'process' | 'start time' | 'executable' | 'cgroup' | undefined {
    if (this.#isAlive === undefined) {
      const now = readProcess(this.#pid, undefined, this.#proc);
      if (now === undefined) return 'process';
      if (now.startTimeTicks !== this.facts.startTimeTicks) return 'start time';
    } else if (!this.#isAlive()) {
      return 'process';
    }
    if (executableIdentity(`${this.#proc}/${this.#pid}/exe`) !== this.facts.executable) return 'executable';
    return this.#isSameCgroup() ? undefined : 'cgroup';
  }

  close(): void {
    closeSync(this.#cgroupFile);
  }

  #isSameCgroup(): boolean {
    try {
      return this.#readCgroup().equals(this.#cgroup);
    } catch {
      return false;
    }
  }

  #readCgroup(): Buffer {
    return scratch.subarray(0, readSync(this.#cgroupFile, scratch, 0, CGROUP_OCTETS, 0));
  }
}
