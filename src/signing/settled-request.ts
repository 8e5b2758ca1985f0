import type { Proposal } from '../policy/proposal.ts';
import type { SettleableRequest } from './settleable.ts';

/** The request as a response's signature may point at it; nothing for what is no HTTP message. */
export function settledRequest(
  { parameters, times }: Proposal,
  reply: object,
): { readonly request?: SettleableRequest } {
  if (parameters.operation !== 'http-message' || times === undefined || !('headers' in reply)) return {};
  const { method, target } = parameters;
  const headers = Object.entries(reply.headers as Readonly<Record<string, string>>);
  return { request: { method, target, headers, signedAtMs: times.issuedAtMs } };
}
