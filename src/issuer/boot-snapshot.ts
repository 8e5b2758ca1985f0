/** The boot state that evidence is judged against, while other evidence of the same TPM is on its way. */
import { text } from '../wire/check.ts';
import { parseBoot, serializeBoot } from './store/host-records.ts';
import type { BootState } from './verifier/boot-state.ts';

/** The form in which a session keeps the state of its opening. */
export const bootSnapshot = text({ maxLength: 512 });

export function takeSnapshot(boot: BootState): string {
  return serializeBoot(boot);
}

/**
 * The stored state, with the clock of the challenge's opening where the boot is the same. Evidence is made after
 * its challenge, so its clock is never below that; below the stored one it can be without being old, because
 * evidence for another challenge may have overtaken it. The counts are always the stored ones.
 */
export function judgedAgainst(stored: BootState, snapshot: string): BootState {
  const opened = parseBoot(snapshot);
  const sameBoot = opened.resetCount === stored.resetCount && opened.restartCount === stored.restartCount;
  return sameBoot && opened.clock < stored.clock ? { ...stored, clock: opened.clock } : stored;
}
