/** One timer that does whatever is due next: the host's standing first, then credentials, oldest first. */
import type { Logger } from '../base/logger.ts';
import { asKeydError, type KeydError } from '../wire/problem.ts';
import type { CredentialRecord, HostRecord } from './issuance-store.ts';
import type { IssuableAgent } from './issuing.ts';
import { RetryPlan } from './renewal-plan.ts';

export interface RenewalParts {
  readonly now: () => number;
  readonly logger: Logger;
  readonly agents: () => readonly IssuableAgent[];
  readonly host: () => HostRecord | undefined;
  readonly credentials: (agent: IssuableAgent) => CredentialRecord | undefined;
  readonly attest: () => Promise<void>;
  readonly obtain: (agent: IssuableAgent) => Promise<void>;
}

interface Task {
  readonly target: string;
  readonly dueMs: number;
  readonly run: () => Promise<void>;
}

// A timer longer than this is cut: clocks jump, and setTimeout has 31 bits.
const LONGEST_WAIT_MS = 60_000;
const LARGEST_HELPING = 500;

export class RenewalLoop {
  readonly #parts: RenewalParts;
  readonly #plan = new RetryPlan();
  readonly #faults = new Map<string, KeydError>();
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #stopped = true;
  #attestedThisStart = false;

  constructor(parts: RenewalParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#stopped = false;
    this.#attestedThisStart = false;
    this.#schedule(0);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  wake(): void {
    if (!this.#running) this.#schedule(0);
  }

  fault(target: string): KeydError | undefined {
    return this.#faults.get(target);
  }

  succeeded(target: string): void {
    this.#plan.succeeded(target);
    this.#faults.delete(target);
    if (target === 'host') this.#attestedThisStart = true;
  }

  failed(target: string, error: KeydError): void {
    this.#plan.failed(target, this.#parts.now(), error.retryAfterSeconds);
    this.#faults.set(target, error);
    this.#parts.logger.warn(
      { target, code: error.code, fault: error.message },
      'exchange with the issuer failed',
    );
  }

  #schedule(waitMs: number): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#turn().catch((thrown: unknown) => {
        this.#parts.logger.error({ fault: asKeydError(thrown).message }, 'renewal loop failed, it goes on');
        this.#running = false;
        this.#schedule(LONGEST_WAIT_MS);
      });
    }, waitMs);
  }

  async #turn(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    for (let due = this.#due(); due.length > 0 && !this.#stopped; due = this.#due()) {
      for (const task of due) await this.#run(task);
    }
    this.#running = false;
    this.#schedule(Math.min(LONGEST_WAIT_MS, Math.max(50, this.#nextDueMs() - this.#parts.now())));
  }

  async #run(task: Task): Promise<void> {
    if (this.#stopped) return;
    try {
      await task.run();
    } catch (thrown) {
      // The exchange has recorded the fault and its backoff; only what it never reached is left to record.
      if (!this.#faults.has(task.target)) this.failed(task.target, asKeydError(thrown));
    }
  }

  /** A bounded helping of what is due, so that the standing is looked at again in between. */
  #due(): readonly Task[] {
    const now = this.#parts.now();
    return this.#tasks()
      .filter((task) => task.dueMs <= now)
      .slice(0, LARGEST_HELPING);
  }

  #nextDueMs(): number {
    return Math.min(...this.#tasks().map((task) => task.dueMs));
  }

  /** Everything to be kept fresh, most urgent first. Without a standing there are no credentials to ask for. */
  #tasks(): readonly Task[] {
    const host = this.#parts.host();
    const hostDueMs =
      this.#attestedThisStart && host !== undefined ? host.standing.reattestAtSeconds * 1000 : 0;
    const attest: Task = {
      target: 'host',
      dueMs: this.#plan.dueMs('host', hostDueMs),
      run: this.#parts.attest,
    };
    if (!this.#attestedThisStart) return [attest];
    const agents = this.#parts.agents();
    this.#forgetOthers(new Set(['host', ...agents.map(({ id }) => id)]));
    const renewals = agents.map((agent): Task => {
      const dueMs = (this.#parts.credentials(agent)?.issued.renewAtSeconds ?? 0) * 1000;
      return {
        target: agent.id,
        dueMs: this.#plan.dueMs(agent.id, dueMs),
        run: async () => this.#parts.obtain(agent),
      };
    });
    return [attest, ...renewals.sort((a, b) => a.dueMs - b.dueMs)];
  }

  #forgetOthers(targets: ReadonlySet<string>): void {
    this.#plan.keepOnly(targets);
    for (const target of this.#faults.keys()) if (!targets.has(target)) this.#faults.delete(target);
  }
}
