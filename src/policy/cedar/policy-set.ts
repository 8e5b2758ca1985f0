/** What `loadPolicySet` (load-policy-set.ts) makes of policy files: an engine that can also say why. */
import type { PolicyEngine, PolicyRequest, PolicyVerdict } from '../verdict.ts';

/** One file of a policy set. */
export interface PolicyFile {
  /** For messages: `payments.cedar`. */
  readonly name: string;
  readonly text: string;
}

export interface PolicySummary {
  /** `@id`. */
  readonly id: string;
  readonly effect: 'permit' | 'forbid';
  readonly file: string;
  /** Of its first token, from 1. */
  readonly line: number;
}

/** What became of one part of a condition, judged by Cedar by itself. */
export interface ConditionResult {
  /** The conjunct as Cedar writes it, `!(…)` where it stands in an `unless`. */
  readonly text: string;
  /** `not-reached`: an earlier one does not hold, and without it this one has no meaning. */
  readonly result: 'holds' | 'fails' | 'error' | 'not-reached';
  /** What the request says where the conjunct reads it, by path: `context.body["/amount"]` -> `3000.01`. */
  readonly values: Readonly<Record<string, string>>;
  /** Cedar's word on an error. */
  readonly error?: string;
}

export interface PolicyExplanation extends PolicySummary {
  readonly outcome: 'satisfied' | 'not-satisfied' | 'error';
  readonly conditions: readonly ConditionResult[];
}

export interface Explanation {
  readonly verdict: PolicyVerdict;
  /** Every policy whose scope covers the request, in file order. */
  readonly policies: readonly PolicyExplanation[];
  /** One sentence each: what would have to be different. Empty where the verdict is permit. */
  readonly advice: readonly string[];
}

/** A loaded set. */
export interface PolicySet extends PolicyEngine {
  /** In file order. */
  readonly policies: readonly PolicySummary[];
  /** Judges again, part by part; for people, not for the hot path. Never throws. */
  explain(request: PolicyRequest): Explanation;
}
