/** A ledger on the counter of a real TPM, with its memory in a real state directory: what a daemon has of both. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import type { MonotonicCounter } from '../../src/backend/counter.ts';
import { openTpmBackend } from '../../src/backend/tpm/tpm-backend.ts';
import { FairQueue } from '../../src/base/fair-queue.ts';
import { LaneCounter } from '../../src/daemon/lane-counter.ts';
import { openState } from '../../src/daemon/state/state.ts';
import { openLedger, type Ledger, type LedgerOptions } from '../../src/ledger/ledger.ts';

export const COUNTER_INDEX = 0x0180_a6e7;

export interface CountedLedgerOptions extends Omit<LedgerOptions, 'directory' | 'counter' | 'fault'> {
  readonly tcti: string;
  /** Of the daemon, 32 octets. */
  readonly secret: Uint8Array;
  readonly stateDirectory: string;
  /** Called between durable steps of the ledger, and before and after the counter moves. */
  readonly fault?: (step: string) => void;
}

export interface CountedLedger {
  readonly ledger: Ledger;
  readonly counter: LaneCounter;
  /** Lets go of everything as a crash would: the epoch is not closed. */
  abandon(): Promise<void>;
  /** Ends the epoch, and lets go. */
  close(): Promise<void>;
}

const abandoned: Ledger[] = [];

/** Closes the files of ledgers that were left as a crash leaves them. They can not reach the counter any more. */
export async function endAbandoned(): Promise<void> {
  for (const ledger of abandoned.splice(0)) await ledger.end().catch(() => undefined);
}

export async function openCountedLedger(options: CountedLedgerOptions): Promise<CountedLedger> {
  const { tcti, secret, stateDirectory, fault = () => undefined, ...rest } = options;
  const state = openState(stateDirectory);
  const backend = await openTpmBackend({
    tcti,
    secret,
    store: state.keyBlobs,
    memory: state.tpmMemory,
    refusedAuths: state.refusedPins,
  });
  const queue = new FairQueue({
    name: 'the TPM',
    concurrency: 1,
    maxWaitingPerShare: 16,
    maxWaiting: 16,
    reservedWaiting: 16,
    expectedServiceMs: 1,
  });
  const { counterMemory } = state;
  const stepping = withSteps(backend.counter(counterMemory, COUNTER_INDEX), fault);
  const counter = new LaneCounter({ backend, queue }, stepping, counterMemory);
  const ledger = await openLedger({
    ...rest,
    directory: join(stateDirectory, 'ledger'),
    counter,
    fault: (step) => {
      fault(step);
    },
  });
  const letGo = async (): Promise<void> => {
    await queue.close();
    await backend.close();
    state.close();
  };
  return {
    ledger,
    counter,
    abandon: async () => {
      abandoned.push(ledger);
      await letGo();
    },
    close: async () => {
      try {
        await ledger.end();
      } finally {
        await letGo();
      }
    },
  };
}

function withSteps(counter: MonotonicCounter, fault: (step: string) => void): MonotonicCounter {
  return {
    read: () => counter.read(),
    adopt: () => counter.adopt(),
    certify: (data) => counter.certify(data),
    increment: async (expected) => {
      fault('increment');
      await counter.increment(expected);
      fault('incremented');
    },
  };
}

/** Copies a state directory as it is on disk, whoever has it open. */
export function copyState(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('/lock') });
}
