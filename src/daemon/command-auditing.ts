/** The TPM's account of its signatures, asked for with each checkpoint, and what it said as entries of the audit log. */
import type { AuditLog } from '../audit/audit-log.ts';
import type { CommandAudit, CommandAuditReading } from '../backend/command-audit.ts';
import type { Logger } from '../base/logger.ts';
import type { HardwareLane } from '../signing/hardware.ts';
import { encodeBase64url } from '../wire/base64url.ts';
import { commandAuditData, type CommandAuditBound, type CommandAuditVerdict } from '../wire/command-audit.ts';
import { asKeydError } from '../wire/problem.ts';
import { internalTurn } from './queued-backend.ts';

/** What status tells of it. */
export interface CommandAuditFacts extends CommandAuditVerdict {
  /** Index of its entry. */
  readonly index: number;
  readonly at: number;
  /** Index of the first entry since the daemon started that told of a signature outside it. */
  readonly foreignIndex: number | undefined;
}

export class CommandAuditing {
  readonly #lane: HardwareLane;
  readonly #commands: CommandAudit;
  readonly #audit: AuditLog;
  readonly #log: Logger;
  #facts: CommandAuditFacts | undefined;

  constructor(lane: HardwareLane, commands: CommandAudit, audit: AuditLog, log: Logger) {
    this.#lane = lane;
    this.#commands = commands;
    this.#audit = audit;
    this.#log = log;
  }

  /** Undefined until the TPM was asked. */
  get facts(): CommandAuditFacts | undefined {
    return this.#facts;
  }

  /**
   * Asks the TPM, and records what it says; on an idle host only where it is not as expected. A TPM that can not be
   * asked keeps nothing else from being done.
   */
  async check(always: boolean): Promise<void> {
    try {
      if ((await this.#lane.backend.describe()).state !== 'ready') return;
      let bound: CommandAuditBound | undefined;
      const bind = (expected: string, signed: number): Uint8Array => {
        const auditHead = encodeBase64url(this.#audit.root());
        bound = { auditHead, auditSize: this.#audit.size, expected, signed };
        return commandAuditData(bound);
      };
      const reading = await internalTurn(this.#lane)(() => this.#commands.check({ always, bind }));
      if (reading !== undefined && bound !== undefined) await this.#record(reading, bound);
    } catch (thrown) {
      this.#log.warn({ error: asKeydError(thrown) }, 'the TPM’s command audit could not be read');
    }
  }

  /** After the last signature. */
  async end(): Promise<void> {
    await this.#commands.end();
  }

  async #record(reading: CommandAuditReading, bound: CommandAuditBound): Promise<void> {
    const { ak, attest, effect, reason, signature } = reading;
    const at = this.#audit.now();
    const { index, durable } = this.#audit.append({
      at,
      kind: 'command-audit',
      effect,
      ...(reason === undefined ? {} : { reason }),
      ...bound,
      ak: encodeBase64url(ak),
      attest: encodeBase64url(attest),
      signature: encodeBase64url(signature),
    });
    const verdict = { effect, ...(reason === undefined ? {} : { reason }) };
    const foreignIndex = this.#facts?.foreignIndex ?? (effect === 'foreign' ? index : undefined);
    this.#facts = { ...verdict, index, at, foreignIndex };
    if (effect === 'foreign') {
      this.#log.error(
        { index },
        'the TPM signed something that this daemon did not send to it; see docs/audit.md',
      );
    } else if (effect === 'inconclusive') {
      this.#log.warn(
        { index, reason },
        'the TPM’s command audit tells nothing of the time since it was last read',
      );
    }
    await durable;
  }
}
