import type { BackendDescription, BackendKind, KeyBackend } from '../backend/backend.ts';
import type { FairQueue } from '../base/fair-queue.ts';
import { KeydError } from '../wire/problem.ts';

/** A backend and the queue in front of it: nothing reaches hardware for a caller but through its lane. */
export interface HardwareLane {
  readonly backend: KeyBackend;
  readonly queue: FairQueue;
}

/** The configured backends. */
export class Hardware {
  readonly #lanes: ReadonlyMap<BackendKind, HardwareLane>;

  constructor(lanes: readonly HardwareLane[]) {
    this.#lanes = new Map(lanes.map((lane) => [lane.backend.kind, lane]));
  }

  /** @throws KeydError `backend_unavailable` */
  lane(kind: BackendKind): HardwareLane {
    const lane = this.#lanes.get(kind);
    if (lane === undefined) {
      throw new KeydError('backend_unavailable', `no ${kind} backend is configured on this host`);
    }
    return lane;
  }

  /** The backend's own account of itself; undefined where it is not configured any more. */
  async describe(kind: BackendKind): Promise<BackendDescription | undefined> {
    return this.#lanes.get(kind)?.backend.describe();
  }
}
