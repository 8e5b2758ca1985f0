/** What routes are made from. */
import type { IncomingMessage } from 'node:http';
import type { IssuerContext } from '../issuer-context.ts';
import { RateLimiter } from '../rate-limiter.ts';
import type { EnrolledHost } from '../store/host-records.ts';

export interface RouteLimits {
  /** By network: M1 and M3. */
  readonly enrolments: RateLimiter;
  /** By AK and message: every signed request. */
  readonly hostRequests: RateLimiter;
  /** By AK: M7. */
  readonly issuances: RateLimiter;
}

export interface RouteContext {
  readonly context: IssuerContext;
  readonly limits: RouteLimits;
  readonly readBody: (request: IncomingMessage) => Promise<Uint8Array>;
}

export function makeLimits(context: IssuerContext): RouteLimits {
  const { nowMs } = context;
  const { limits } = context.config;
  return {
    // M1 and M3 both count.
    enrolments: new RateLimiter(
      2 * limits.enrolmentsPerNetworkPerMinute,
      'enrolment messages from this network',
      nowMs,
    ),
    hostRequests: new RateLimiter(limits.requestsPerHostPerMinute, 'requests of this host', nowMs),
    issuances: new RateLimiter(limits.issuancesPerHostPerMinute, 'issuances to this host', nowMs),
  };
}

/**
 * Counts a request whose signature was verified: nobody else can use up a host's share. Re-attestation has a share
 * of its own, which agents' credentials can not use up (S20).
 */
export function countHost(
  limits: RouteLimits,
  host: EnrolledHost,
  message: 'attest' | 'issue' | 'allocate' | 'revoke',
): void {
  limits.hostRequests.take(`${message} ${host.akId}`);
}
