/**
 * What vouches for both logs from outside of them: on a timer, and only where something was written since, an epoch
 * of the counter over their heads and a signed checkpoint over that. No request ever moves the counter (S16).
 */
import type { AuditLog } from '../audit/audit-log.ts';
import type { Logger } from '../base/logger.ts';
import type { AnchorProof } from '../ledger/epoch-counter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { asKeydError } from '../wire/problem.ts';
import type { CommandAuditing } from './command-auditing.ts';
import type { LaneCounter } from './lane-counter.ts';

export interface AnchoringOptions {
  readonly audit: AuditLog;
  readonly ledger: Ledger;
  /** Without one, checkpoints stand alone. */
  readonly counter: LaneCounter | undefined;
  /** Undefined where it is off. */
  readonly commandAudit: CommandAuditing | undefined;
  readonly log: Logger;
}

export class Anchoring {
  readonly #options: AnchoringOptions;

  constructor(options: AnchoringOptions) {
    this.#options = options;
  }

  /** @throws KeydError `audit_unavailable`, those of the hardware */
  async tick(): Promise<void> {
    const { audit, commandAudit, counter, ledger, log } = this.#options;
    // On an idle host too: a signature outside of the daemon is no news of the log's own.
    await commandAudit?.check(audit.hasNews);
    if (!audit.hasNews) return;
    if (counter !== undefined && ledger.health.fault === undefined) {
      try {
        await ledger.anchor();
      } catch (thrown) {
        log.warn({ error: asKeydError(thrown) }, 'the logs could not be anchored; it is tried again');
      }
    }
    // Over the anchor as well, so that nothing but its own entry stands behind it.
    await audit.checkpoint();
  }

  /** Asks for the counter again while the ledger waits for it. */
  async mend(): Promise<void> {
    const { ledger, log } = this.#options;
    if (!ledger.health.mayMend) return;
    await ledger.health.compare();
    const { fault } = ledger.health;
    if (fault === undefined) log.info({ epoch: String(ledger.state().epoch) }, 'the ledger is in use');
    else log.debug({ error: fault }, 'the ledger still waits for the counter');
  }
}

/** An anchor as an entry of the audit log; it is durable with the entries around it. */
export function recordAnchor(audit: AuditLog, { value, attest, signature, bound }: AnchorProof): void {
  audit.append({
    at: audit.now(),
    kind: 'anchor',
    value: String(value),
    attest: encodeBase64url(attest),
    signature: encodeBase64url(signature),
    head: encodeBase64url(bound),
  });
}
