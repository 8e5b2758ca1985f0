import type { PolicyVerdict } from '../verdict.ts';

/** A deny without what candidate sets say to it. */
export type Denial = Pick<Extract<PolicyVerdict, { effect: 'deny' }>, 'code' | 'policies' | 'reason'>;

export function deny(denial: Denial): PolicyVerdict {
  return { effect: 'deny', ...denial, observed: [] };
}
