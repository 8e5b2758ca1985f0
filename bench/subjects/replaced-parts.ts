/** Parts that do nothing: no policy is asked, nothing is recorded. For the bench only. */
import type { Recorder } from '../../src/policy/recorder.ts';
import type { PolicyEngine } from '../../src/policy/verdict.ts';

export const PERMIT_ALL: PolicyEngine = {
  fingerprint: 'bare',
  mayRawSign: () => true,
  evaluate: () => ({
    effect: 'permit',
    policies: [],
    obligations: { approval: 'none', charges: [], scopes: [] },
    observed: [],
  }),
};

export const RECORD_NOTHING: Recorder = { decision: () => Promise.resolve({ outcome: () => undefined }) };
