/** The two logs that nothing is signed without: what was decided, and what was spent. */
import { join } from 'node:path';
import type { AuditLog } from '../audit/audit-log.ts';
import { openAuditLog } from '../audit/open-audit-log.ts';
import type { Logger } from '../base/logger.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { asKeydError } from '../wire/problem.ts';
import { MemoryUsageHistory } from '../ledger/usage-history.ts';
import { openLedger, type Ledger } from '../ledger/ledger.ts';
import type { HardwareLane } from '../signing/hardware.ts';
import { recordAnchor } from './anchoring.ts';
import { auditSigner } from './audit-key.ts';
import { CommandAuditing } from './command-auditing.ts';
import type { DaemonConfig } from './config.ts';
import type { OpenHardware } from './hardware.ts';
import { LogEvidenceSource } from './log-evidence.ts';
import type { LaneCounter } from './lane-counter.ts';
import type { DaemonState } from './state/state.ts';
import { UsageTally } from './usage-tally.ts';

export interface EvidenceLogs {
  readonly audit: AuditLog;
  readonly ledger: Ledger;
  readonly usage: MemoryUsageHistory;
  /** Under both; undefined where there is none. */
  readonly counter: LaneCounter | undefined;
  /** The TPM's account of its signatures; undefined where it is off. */
  readonly commandAudit: CommandAuditing | undefined;
  /** Both, for the issuer. */
  readonly evidence: LogEvidenceSource;
}

const START_TIMEOUT_MS = 5_000;

/** @throws KeydError `audit_unavailable`, `ledger_unavailable` for logs that can not be read */
export async function openEvidenceLogs(
  config: DaemonConfig,
  state: DaemonState,
  { lanes, tpm }: OpenHardware,
  log: Logger,
): Promise<EvidenceLogs> {
  const usage = new MemoryUsageHistory();
  const audit = await openAuditLog({
    directory: join(config.stateDirectory, 'audit'),
    signer: () =>
      auditSigner({
        lanes,
        documents: state.documents,
        enrolledKeyId: () => state.issuance.host()?.auditKeyId,
      }),
    tally: new UsageTally(usage),
    reserveOctets: config.audit.reserveOctets,
    onFull: () => {
      log.error(
        { octets: config.audit.reserveOctets },
        'the disk is full: the audit log lives on its reserve, denials are only counted; make room before nothing can be signed',
      );
    },
    onTornTail: (octets) => {
      log.warn({ octets }, 'a crash had left an unfinished entry in the audit log; it was cut');
    },
    onUnsigned: (error) => {
      log.warn({ error }, 'the audit log goes on without a checkpoint; it is tried again');
    },
    onUnsaved: (error) => {
      log.warn({ error }, 'the next start will read more of the audit log than it would have to');
    },
  });
  const commandAudit =
    tpm?.commandAudit === undefined ? undefined : new CommandAuditing(tpm.lane, tpm.commandAudit, audit, log);
  // Before anything is signed; where the TPM is not there yet, with the first checkpoint.
  await commandAudit?.check(true);
  const counter = tpm?.counter;
  const ledger = await openLedger({
    directory: join(config.stateDirectory, 'ledger'),
    counter,
    leases: config.ledger.leases,
    auditHead: () => ({ root: encodeBase64url(audit.root()), size: audit.size }),
    onAnchor: (proof) => {
      recordAnchor(audit, proof);
    },
    // A TPM that does not answer keeps the daemon from nothing but spending.
    startTimeoutMs: counter === undefined || (await isReady(tpm?.lane)) ? START_TIMEOUT_MS : 0,
  });
  const { fault } = ledger.state();
  if (fault !== undefined) log.error({ error: fault }, 'nothing that costs something is signed');
  const evidence = new LogEvidenceSource({ audit, ledger, counter });
  return { audit, ledger, usage, counter, commandAudit, evidence };
}

async function isReady(lane: HardwareLane | undefined): Promise<boolean> {
  return (await lane?.backend.describe())?.state === 'ready';
}

/** Signs for the end of the log, closes the epoch, and lets go of both; nothing is decided or spent any more. */
export async function endEvidenceLogs(
  { audit, commandAudit, ledger }: EvidenceLogs,
  log: Logger,
): Promise<void> {
  await commandAudit?.check(true);
  try {
    await audit.checkpoint();
  } catch (thrown) {
    log.warn({ error: asKeydError(thrown) }, 'the log ends without a checkpoint; the next start makes one');
  }
  try {
    await ledger.end();
  } catch (thrown) {
    log.warn(
      { error: asKeydError(thrown) },
      'the epoch could not be closed; what it leases counts as spent at the next start',
    );
  }
  await audit.close();
  await commandAudit?.end();
}
