import { describe, expect, it } from 'vitest';
import { Appraisal, CHECKS, CHECKS_NOT_BUILT } from '../../../../src/issuer/verifier/checks.ts';
import { mayIssue } from '../../../../src/issuer/verifier/host-policy.ts';
import { KeydError } from '../../../../src/wire/problem.ts';
import { refusalOf } from '../../../support/refusal.ts';
import { hostRecord, REQUEST } from './posed-scenario.ts';

describe('the checklist', () => {
  it('has the numbers 1 to 27, each once, built or not', () => {
    const numbers = [...Object.keys(CHECKS), ...Object.keys(CHECKS_NOT_BUILT)]
      .map(Number)
      .sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 27 }, (_, index) => index + 1));
  });

  it('tells invalid evidence from what policy does not want, and names the check', () => {
    const appraisal = new Appraisal();
    const run = (body: Parameters<typeof appraisal.check>[1]): string =>
      refusalOf(() => appraisal.check(8, body));
    expect(run((verdict) => verdict.reject('bad'))).toBe('evidence_invalid: check 8 (AK attributes): bad');
    expect(run((verdict) => verdict.deny('no'))).toBe('appraisal_denied: check 8 (AK attributes): no');
    expect(run((verdict) => verdict.deny('no', 'host_not_approved'))).toBe(
      'host_not_approved: check 8 (AK attributes): no',
    );
    const fault = (code: ConstructorParameters<typeof KeydError>[0]) => (): never => {
      throw new KeydError(code, 'fault');
    };
    for (const code of [
      'malformed_structure',
      'malformed_request',
      'signature_invalid',
      'unsupported_algorithm',
    ] as const) {
      expect(run(fault(code))).toBe('evidence_invalid: check 8 (AK attributes): fault');
    }
    expect(appraisal.passed).toEqual([]);
  });

  it('does not take a fault of ours for a fault of the evidence', () => {
    const appraisal = new Appraisal();
    const bug = new TypeError('bug');
    expect(() =>
      appraisal.check(8, () => {
        throw bug;
      }),
    ).toThrow(bug);
    const internal = refusalOf(() =>
      appraisal.check(8, () => {
        throw new KeydError('internal', 'ours');
      }),
    );
    expect(internal).toBe('internal: ours');
  });

  it('records what passed, in order and once', () => {
    const appraisal = new Appraisal();
    appraisal.check(14, () => undefined);
    appraisal.check(2, () => undefined);
    expect(appraisal.check(14, () => 'result')).toBe('result');
    expect(appraisal.passed).toEqual([2, 14]);
  });
});

describe('check 27: mayIssue', () => {
  const ask = (change: Partial<typeof REQUEST>, issuedInLastHour = 0): string | undefined =>
    mayIssue(hostRecord, { request: { ...REQUEST, ...change }, issuedInLastHour });

  it('grants what the record says, to its limits', () => {
    expect(ask({})).toBeUndefined();
    expect(ask({ name: 'pay-', ttlSeconds: 60 }, 99)).toBeUndefined();
  });

  it('refuses the rest with its reason', () => {
    expect(ask({ name: 'payments' })).toMatch(/patterns of node-1: pay-\*/);
    expect(ask({ name: 'pay-1+child' })).toMatch(/sub-agent/);
    expect(ask({ creds: ['x509', 'aauth'] })).toMatch(/may not have aauth/);
    expect(ask({ creds: ['x509', 'x509'] })).toMatch(/twice/);
    expect(ask({ ttlSeconds: 3601 })).toMatch(/3601 s .* 3600 s/);
    expect(ask({}, 100)).toMatch(/100 issuances/);
    expect(mayIssue({ ...hostRecord, namePatterns: [] }, { request: REQUEST, issuedInLastHour: 0 })).toMatch(
      /none/,
    );
    expect(refusalOf(() => ask({ name: '../root' }))).toMatch(/^invalid_name/);
  });
});
