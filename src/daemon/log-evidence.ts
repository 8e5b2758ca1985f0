/**
 * Ledger and audit log as evidence for the issuer, and the issuer's memory held against them: a host without a counter
 * learns here, and only here, that its state is an older copy (S8). Implements `HostLogs`.
 */
import type { AuditLog } from '../audit/audit-log.ts';
import type { HostLogs } from '../issuance/host-logs.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { anchorBound, type AnchoredHeads } from '../wire/audit-anchor.ts';
import { decodeBase64url, encodeBase64url } from '../wire/base64url.ts';
import type { LogEvidence } from '../wire/issuance/log-evidence.ts';
import { verifyConsistency, type Hash } from '../wire/merkle.ts';
import { asKeydError, KeydError } from '../wire/problem.ts';
import type { LaneCounter } from './lane-counter.ts';

export interface LogEvidenceOptions {
  readonly audit: AuditLog;
  readonly ledger: Ledger;
  readonly counter: LaneCounter | undefined;
}

export class LogEvidenceSource implements HostLogs {
  readonly #options: LogEvidenceOptions;
  #isWitnessed = false;

  constructor(options: LogEvidenceOptions) {
    this.#options = options;
  }

  /** Whether the issuer has seen these logs since this start, and would tell if they were set back. */
  get isWitnessed(): boolean {
    return this.#isWitnessed;
  }

  async nvPublic(): Promise<Uint8Array | undefined> {
    const { counter, ledger } = this.#options;
    try {
      return await counter?.nvPublic();
    } catch (thrown) {
      ledger.health.learn(asKeydError(thrown));
      throw thrown;
    }
  }

  evidence(
    witness: AnchoredHeads | undefined,
    extraData: (bound: Uint8Array) => Uint8Array,
  ): Promise<LogEvidence> {
    const { audit, counter, ledger } = this.#options;
    return ledger.certified(async (heads) => {
      const { root, size } = await audit.head();
      const head = { ...heads, auditHead: encodeBase64url(root), auditSize: size };
      const consistency = this.#goingOn(witness, head);
      if (counter === undefined) return { auditHead: { head, consistency } };
      const { attest, signature } = await counter.certify(extraData(anchorBound(head)));
      return { auditCounter: { attest, sig: signature, head, consistency } };
    });
  }

  seen(): void {
    this.#isWitnessed = true;
  }

  /** The proof that the audit log extends what was seen of it; empty where nothing was. */
  #goingOn(witness: AnchoredHeads | undefined, head: AnchoredHeads): readonly Hash[] {
    if (witness === undefined) return [];
    if (BigInt(witness.epoch) > BigInt(head.epoch) || witness.auditSize > head.auditSize) {
      throw this.#older(
        `the issuer has seen epoch ${witness.epoch} and ${witness.auditSize} audit entries, and here are epoch ${head.epoch} and ${head.auditSize}`,
      );
    }
    const proof = this.#options.audit.consistency(witness.auditSize, head.auditSize);
    const [first, second] = [decodeBase64url(witness.auditHead), decodeBase64url(head.auditHead)];
    if (verifyConsistency(witness.auditSize, head.auditSize, proof, first, second)) return proof;
    throw this.#older(`the first ${witness.auditSize} audit entries are not those that the issuer has seen`);
  }

  #older(what: string): KeydError {
    const fault = new KeydError(
      'ledger_rolled_back',
      `${what}: an older copy of the state was restored; see agentkey ledger accept-rollback, and agentkey-issuer hosts accept-rollback`,
    );
    this.#isWitnessed = false;
    this.#options.ledger.health.distrust(fault);
    return fault;
  }
}
