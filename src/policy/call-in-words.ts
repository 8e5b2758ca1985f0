import type { Proposal } from './proposal.ts';

const MAX_LENGTH = 512;

/** What would be signed, for who reads the history of a budget: no query, no header, no body. */
export function callInWords({ parameters }: Proposal): string {
  const { operation } = parameters;
  if (!('target' in parameters)) return operation;
  const { method, target } = parameters;
  return `${operation} ${method} ${target.origin}${target.path}`.slice(0, MAX_LENGTH);
}
