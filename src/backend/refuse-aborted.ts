/** What becomes of work whose caller has gone, at every place where a backend looks. */
import { KeydError } from '../wire/problem.ts';

/** @throws KeydError as `abortReason`, if `signal` is aborted */
export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortReason(signal);
}

/** The reason of an aborted signal if it is a KeydError, as the fair queue gives; else `caller_gone`. */
export function abortReason(signal: AbortSignal | undefined): KeydError {
  const reason: unknown = signal?.reason;
  if (reason instanceof KeydError) return reason;
  return new KeydError('caller_gone', 'The caller went away before the hardware was asked', {
    cause: reason,
  });
}
