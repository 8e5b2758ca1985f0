/** Checks 19 and 20: evidence of one boot, never older than what was seen, by firmware that is accepted. */
import type { Attest } from '../../wire/tpm/attest.ts';
import type { AppraisalPolicy, FirmwareFloor } from './appraisal-policy.ts';
import type { Appraisal, Verdict } from './checks.ts';
import type { TpmModel } from './ek-certificate.ts';

/** Where a TPM stands in its life, as last attested; kept per AK (Part 1 §36, Part 2 §10.11.1). */
export interface BootState {
  /** TPM Resets (boots without a saved state) since the last TPM2_Clear. */
  readonly resetCount: number;
  /** Restarts and resumes since the last reset. */
  readonly restartCount: number;
  /** Milliseconds under power since the last TPM2_Clear. */
  readonly clock: bigint;
  /** Whether `clock` is known to be past every value told before. */
  readonly safe: boolean;
  readonly firmwareVersion: bigint;
}

/** How evidence must lie to what is stored. */
export type BootRule =
  /** No earlier evidence, or a TPM that may have been cleared since. */
  | 'enrol'
  /** The same life of the TPM: counts only go up. */
  | 'forward'
  /** The boot of the standing, no other. */
  | 'same-boot';

/** `cleared`: counters went back and policy lets the TPM begin anew. */
export type BootHistory = 'first' | 'continued' | 'cleared';

export interface BootJudgement {
  readonly boot: BootState;
  readonly history: BootHistory;
}

/**
 * Check 19.
 * @param attests every statement of one evidence
 * @param stored the last known state, with the clock as it was known when the challenge was made: answers to two
 *   challenges may overtake each other
 * @throws KeydError `evidence_invalid`; `appraisal_denied` where policy refuses a cleared TPM
 */
export function checkBootState(
  appraisal: Appraisal,
  attests: readonly Attest[],
  stored: BootState | undefined,
  rule: BootRule,
  clearedTpm: AppraisalPolicy['clearedTpm'],
): BootJudgement {
  return appraisal.check(19, (verdict) => {
    const boot = commonState(attests, verdict);
    if (stored === undefined) {
      return rule === 'enrol'
        ? { boot, history: 'first' }
        : verdict.reject('no earlier state of this TPM is known');
    }
    const back = wentBack(boot, stored);
    if (back !== undefined && rule === 'enrol') {
      if (clearedTpm === 'refuse')
        verdict.deny(`${back}: the TPM was cleared or rolled back since it was enrolled`);
      return { boot, history: 'cleared' };
    }
    if (back !== undefined) {
      verdict.reject(`${back}: the TPM was cleared, or its state rolled back; a cleared TPM enrols again`);
    }
    if (rule === 'same-boot' && !sameBoot(boot, stored)) {
      verdict.reject('the TPM was restarted since its last attestation; attest again');
    }
    return { boot, history: 'continued' };
  });
}

/** Check 20, over the state that check 19 accepted. @throws KeydError `appraisal_denied` */
export function checkFirmware(
  appraisal: Appraisal,
  boot: BootState,
  tpm: TpmModel,
  floors: readonly FirmwareFloor[],
): void {
  appraisal.check(20, (verdict) => {
    for (const floor of floors) {
      const applies = floor.manufacturer === tpm.manufacturer && (floor.model ?? tpm.model) === tpm.model;
      if (applies && boot.firmwareVersion < floor.minimum) {
        verdict.deny(`firmware ${hex64(boot.firmwareVersion)} is below the accepted ${hex64(floor.minimum)}`);
      }
    }
  });
}

/** All statements are of one boot and one firmware; their latest clock counts. */
function commonState(attests: readonly Attest[], verdict: Verdict): BootState {
  const [first, ...others] = attests;
  if (first === undefined) return verdict.reject('there is no attested statement');
  let { clock, safe } = first.clockInfo;
  const { resetCount, restartCount } = first.clockInfo;
  for (const { clockInfo, firmwareVersion } of others) {
    if (!sameBoot(clockInfo, first.clockInfo)) verdict.reject('the statements are of different boots');
    if (firmwareVersion !== first.firmwareVersion) verdict.reject('the statements are of different firmware');
    if (clockInfo.clock > clock) clock = clockInfo.clock;
    safe &&= clockInfo.safe;
  }
  return { resetCount, restartCount, clock, safe, firmwareVersion: first.firmwareVersion };
}

/** Which count is lower than stored, or undefined. */
function wentBack(boot: BootState, stored: BootState): string | undefined {
  if (boot.resetCount < stored.resetCount) {
    return `resetCount went back from ${stored.resetCount} to ${boot.resetCount}`;
  }
  if (boot.resetCount > stored.resetCount) return undefined;
  if (boot.restartCount < stored.restartCount) {
    return `restartCount went back from ${stored.restartCount} to ${boot.restartCount}`;
  }
  // Without `safe` on both sides the clock says nothing about order (Part 1 §36.3.2).
  const ordered = boot.restartCount === stored.restartCount && boot.safe && stored.safe;
  return ordered && boot.clock < stored.clock ? 'the clock went back within one boot' : undefined;
}

function sameBoot(
  a: { readonly resetCount: number; readonly restartCount: number },
  b: { readonly resetCount: number; readonly restartCount: number },
): boolean {
  return a.resetCount === b.resetCount && a.restartCount === b.restartCount;
}

function hex64(version: bigint): string {
  return `0x${version.toString(16).padStart(16, '0')}`;
}
