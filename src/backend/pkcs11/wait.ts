import { setTimeout as delay } from 'node:timers/promises';

/**
 * Resolves after the time, or when `signal` is aborted.
 * @param keepsProcess whether the process stays up for this alone
 */
export async function sleep(
  timeMs: number,
  signal: AbortSignal | undefined,
  keepsProcess = true,
): Promise<void> {
  try {
    await delay(timeMs, undefined, { ref: keepsProcess, ...(signal === undefined ? {} : { signal }) });
  } catch (thrown) {
    if (signal?.aborted !== true) throw thrown;
  }
}

/** Something that happens once, to wait for. */
export interface Signal {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

export function signalOnce(): Signal {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = signalOnce();
  if (signal.aborted) resolve();
  signal.addEventListener('abort', resolve, { once: true });
  return promise;
}
