/** A fair queue of a TPM, and what is asked of it. */
import type { FairQueueOptions, FairQueueRequest } from '../../src/base/fair-queue.ts';
import { KeydError } from '../../src/wire/problem.ts';

export const OPTIONS: FairQueueOptions = {
  name: 'the TPM',
  concurrency: 1,
  maxWaitingPerShare: 8,
  maxWaiting: 16,
  reservedWaiting: 2,
  expectedServiceMs: 100,
};

/** Work of so many milliseconds. */
export const takes =
  (ms: number, done?: () => void): (() => Promise<void>) =>
  () =>
    new Promise((resolve) => {
      setTimeout(() => {
        done?.();
        resolve();
      }, ms);
    });

export const ask = (share: string, more: Partial<FairQueueRequest> = {}): FairQueueRequest => ({
  share,
  timeoutMs: 3_600_000,
  ...more,
});

/** What it was refused with. */
export const outcome = async (promise: Promise<unknown>): Promise<KeydError | undefined> => {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof KeydError) return error;
    throw error;
  }
};
