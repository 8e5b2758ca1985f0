/**
 * The Verifier's checklist: every check has a number and a name, they run in order, and the first that fails
 * ends the appraisal. What fails is either *evidence invalid* (it proves nothing) or *policy says no* (it proves
 * something that is not wanted here).
 */
import { KeydError, type ErrorCode } from '../../wire/problem.ts';

/** Number, name, and the attack it stops. Numbers are cited in errors, records and documentation. */
export const CHECKS = {
  1: 'strict parse',
  2: 'challenge',
  3: 'EK certificate',
  4: 'EK certificate path',
  5: 'EK certificate profile',
  6: 'EK public area',
  7: 'known host',
  8: 'AK attributes',
  9: 'AK Name',
  10: 'credential activation',
  11: 'signature',
  12: 'magic',
  13: 'structure type',
  14: 'extraData',
  15: 'qualified signer',
  16: 'certified Name',
  17: 'key attributes',
  18: 'proof of possession',
  19: 'reset and restart counts',
  20: 'firmware version',
  21: 'PCR selection',
  22: 'PCR digest',
  26: 'audit counter',
  27: 'permission of the host',
} as const;

export type CheckNumber = keyof typeof CHECKS;

/** Checks that nothing here performs; whoever relies on an appraisal can see that they were not made. */
export const CHECKS_NOT_BUILT = {
  23: 'event log replay',
  24: 'boot policy',
  25: 'IMA log',
} as const;

/** Ends the appraisal with a verdict; given to every check. */
export interface Verdict {
  /** Evidence invalid. @throws KeydError `evidence_invalid` */
  reject(reason: string): never;
  /** Policy says no. @throws KeydError `appraisal_denied`, or a more telling code of the same meaning */
  deny(reason: string, code?: 'appraisal_denied' | 'host_not_approved' | 'name_not_permitted'): never;
}

// Faults of these codes inside a check are the evidence's; anything else is our own and keeps its code.
const EVIDENCE_FAULTS: ReadonlySet<ErrorCode> = new Set([
  'malformed_structure',
  'malformed_request',
  'signature_invalid',
  'unsupported_algorithm',
  'evidence_invalid',
]);
const POLICY_FAULTS: ReadonlySet<ErrorCode> = new Set([
  'appraisal_denied',
  'host_not_approved',
  'name_not_permitted',
]);

/** One run of the checklist and the record of what passed. */
export class Appraisal {
  readonly #passed = new Set<CheckNumber>();

  /** Numbers of the checks that passed, ascending. */
  get passed(): readonly CheckNumber[] {
    return [...this.#passed].sort((a, b) => a - b);
  }

  /**
   * Runs one check. @throws KeydError `evidence_invalid` or a policy code, its message starting with
   * `check N (name): `
   */
  check<T>(number: CheckNumber, body: (verdict: Verdict) => T): T {
    const title = `check ${number} (${CHECKS[number]})`;
    const verdict: Verdict = {
      reject(reason) {
        throw new KeydError('evidence_invalid', reason);
      },
      deny(reason, code = 'appraisal_denied') {
        throw new KeydError(code, reason);
      },
    };
    let result: T;
    try {
      result = body(verdict);
    } catch (thrown) {
      if (!(thrown instanceof KeydError)) throw thrown;
      if (EVIDENCE_FAULTS.has(thrown.code)) {
        throw new KeydError('evidence_invalid', `${title}: ${thrown.message}`, { cause: thrown });
      }
      if (POLICY_FAULTS.has(thrown.code)) {
        throw new KeydError(thrown.code, `${title}: ${thrown.message}`, { cause: thrown });
      }
      throw thrown;
    }
    this.#passed.add(number);
    return result;
  }
}
