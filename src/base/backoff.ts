/** When to try again after a failure. */

export interface BackoffOptions {
  /** Longest wait after the first failure, milliseconds; doubles with each further one. */
  readonly baseMs: number;
  readonly maxMs: number;
  /** Uniform in [0, 1); injected by tests. */
  readonly random?: () => number;
}

/**
 * Wait before the next try, milliseconds: exponential with equal jitter, so that a fleet that lost its
 * issuer together does not come back together.
 *
 * @param failures failures in a row, at least 1
 */
export function backoffMs(failures: number, { baseMs, maxMs, random = Math.random }: BackoffOptions): number {
  const ceiling = Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 30));
  return Math.round(ceiling / 2 + random() * (ceiling / 2));
}
