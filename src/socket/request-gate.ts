/** What a socket lets requests in by. */
import type { Logger } from '../base/logger.ts';
import type { Caller, Ingress } from '../caller/caller.ts';
import type { Admission } from './admission.ts';
import type { SocketLimits } from './limits.ts';
import type { SocketMetrics } from './metrics.ts';

export interface RequestGate {
  readonly ingress: Ingress;
  readonly limits: SocketLimits;
  readonly admission: Admission;
  readonly metrics: SocketMetrics;
  readonly logger: Logger;
  /** Who may come in on this socket at all. @throws KeydError `policy_denied` */
  readonly admit: (caller: Caller) => void;
  /** True while the daemon shuts down. */
  readonly isDraining: () => boolean;
}
