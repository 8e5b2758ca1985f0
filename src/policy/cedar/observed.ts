import type { PolicyEngine, PolicyRequest, PolicyVerdict } from '../verdict.ts';

/** A set in observe mode. */
export interface CandidateSet {
  readonly name: string;
  readonly engine: PolicyEngine;
}

/**
 * The enforcing engine, whose verdicts also say what candidate sets would have said. Candidates decide nothing: they
 * turn no deny into a permit and no permit into a deny (S19).
 */
export function withObserved(enforcing: PolicyEngine, candidates: readonly CandidateSet[]): PolicyEngine {
  if (candidates.length === 0) return enforcing;
  return {
    fingerprint: enforcing.fingerprint,
    mayRawSign: (agentName) => enforcing.mayRawSign(agentName),
    evaluate: (request) => ({ ...enforcing.evaluate(request), observed: observe(candidates, request) }),
  };
}

function observe(candidates: readonly CandidateSet[], request: PolicyRequest): PolicyVerdict['observed'] {
  return candidates.map(({ name, engine }) => {
    const { effect, policies } = engine.evaluate(request);
    return { set: name, effect, policies };
  });
}
