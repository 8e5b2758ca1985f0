import { KeydError } from '../wire/problem.ts';

/** How far a caller's idea of now may be from the daemon's, seconds (S4). */
const CLAMP_SECONDS = 5;

/**
 * The daemon's own time of making; a caller's value changes nothing and is refused where it says another
 * time than now (S4).
 * @returns Unix time, seconds
 * @throws KeydError `time_not_acceptable`
 */
export function issuedAtSeconds(nowMs: number, wanted: unknown, what: string): number {
  const now = Math.floor(nowMs / 1000);
  if (wanted === undefined) return now;
  if (typeof wanted !== 'number' || !Number.isSafeInteger(wanted) || Math.abs(wanted - now) > CLAMP_SECONDS) {
    throw new KeydError(
      'time_not_acceptable',
      `${what} is set by the daemon; leave it out, or give a time within ${CLAMP_SECONDS} seconds of now`,
    );
  }
  return now;
}
