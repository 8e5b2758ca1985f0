/** Exit codes of `agentkey`, documented in its help and man page. Scripts may rely on them. */
import type { KeydError } from '../wire/problem.ts';

export const EXIT = {
  ok: 0,
  /** The daemon or issuer refused: policy, evidence, a name, a type. Or policies or cases have faults. */
  refused: 1,
  /** The command line, or what it says: a name, a target, a header that is not well-formed. */
  usage: 2,
  /** Nobody answers on the socket. */
  unreachable: 3,
  /** No such agent or resource. */
  notFound: 4,
  /** Hardware, issuer or queue is not available now; the same call may succeed later. */
  tryLater: 5,
  /** Not refused: a person has to allow it first. */
  pending: 6,
  /** A fault of ours. */
  internal: 70,
} as const;

export function exitCodeOf(error: KeydError): number {
  if (error.code === 'daemon_unreachable') return EXIT.unreachable;
  if (error.code === 'approval_pending') return EXIT.pending;
  if (error.code === 'configuration_invalid') return EXIT.refused;
  if (error.status === 400) return EXIT.usage;
  if (error.status === 404 || error.status === 410) return EXIT.notFound;
  if (error.status === 429 || error.status === 503) return EXIT.tryLater;
  return error.status >= 500 && error.code !== 'issuer_refused' ? EXIT.internal : EXIT.refused;
}
