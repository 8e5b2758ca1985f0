/**
 * What the TPM's audit digest should be: every TPM2_Sign of this process, in the order in which it was sent, which is
 * the order in which the TPM performs them (one connection, one queue).
 */
import { extendAuditDigest, NO_DIGEST, signResponseHash } from '../../wire/tpm/audit-digest.ts';
import { KeydError, type ErrorCode } from '../../wire/problem.ts';
import type { ExpectedDigest } from '../../wire/command-audit.ts';
import { TssFault } from './esys.ts';
import { isTpmsOwn } from './response-code.ts';

/** A command that was sent. */
interface Sent {
  readonly cpHash: Uint8Array;
  /** Of the response; null where the TPM refused, so that nothing was audited. */
  rpHash: Uint8Array | null | undefined;
}

const NEVER_SENT: ReadonlySet<ErrorCode> = new Set(['caller_gone', 'deadline_exceeded', 'too_many_requests']);

export class SignAudit {
  #digest: Uint8Array = NO_DIGEST;
  #signed = 0;
  #isLost = false;
  /** Not before the digest was first taken: nothing is expected until then. */
  #isOn = false;
  /** In the order of sending; the first is the first that has no answer yet. */
  readonly #sent: Sent[] = [];

  /** Waits for TPM2_Sign, which was just sent, and counts it. @param cpHash of the command */
  async follow(answer: Promise<Buffer>, cpHash: Uint8Array): Promise<Buffer> {
    if (!this.#isOn) return answer;
    const sent: Sent = { cpHash, rpHash: undefined };
    this.#sent.push(sent);
    try {
      const signature = await answer;
      sent.rpHash = signResponseHash(signature);
      return signature;
    } catch (thrown) {
      if (!isRefusal(thrown) && !wasNeverSent(thrown)) this.#isLost = true;
      sent.rpHash = null;
      throw thrown;
    } finally {
      this.#settle();
    }
  }

  /** As it is now; of use only while no TPM2_Sign is under way. */
  get expected(): ExpectedDigest {
    return { digest: this.#digest, signed: this.#signed };
  }

  /** Whether a command was sent and it is not known if the TPM performed it. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** From what is in the TPM now, or from nothing once the digest was taken. */
  begin(expected: ExpectedDigest = { digest: NO_DIGEST, signed: 0 }): void {
    this.#digest = expected.digest;
    this.#signed = expected.signed;
    this.#isLost = false;
    this.#isOn = true;
  }

  #settle(): void {
    for (let next = this.#sent[0]; next?.rpHash !== undefined; next = this.#sent[0]) {
      this.#sent.shift();
      if (next.rpHash === null) continue;
      this.#digest = extendAuditDigest(this.#digest, next.cpHash, next.rpHash);
      this.#signed += 1;
    }
  }
}

/** Taken back before the TPM had it, or never taken by the queue: nothing of it is in the digest. */
function wasNeverSent(thrown: unknown): boolean {
  return thrown instanceof KeydError && NEVER_SENT.has(thrown.code);
}

function isRefusal(thrown: unknown): boolean {
  return thrown instanceof TssFault && isTpmsOwn(thrown.rc);
}
