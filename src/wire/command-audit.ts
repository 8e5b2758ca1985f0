/**
 * What the TPM's command audit says of the time since it was last asked, decided the same by the daemon that asked
 * and by whoever verifies its log afterwards (docs/decisions/0041).
 */
import { attestedData } from './attested-data.ts';
import { canonicalJson } from './jcs.ts';
import type { CommandAuditAttest } from './tpm/attest.ts';
import { isSignAudited } from './tpm/audit-digest.ts';
import { sameOctets } from './tpm/codec.ts';

/**
 * - `began`: the digest was taken for the first time; nothing is known of before.
 * - `match`: what this daemon sent is all that the TPM signed.
 * - `foreign`: the TPM performed an audited command that this daemon did not send.
 * - `inconclusive`: neither can be said.
 */
export const COMMAND_AUDIT_EFFECTS = ['began', 'match', 'foreign', 'inconclusive'] as const;
export type CommandAuditEffect = (typeof COMMAND_AUDIT_EFFECTS)[number];

/**
 * Why it is inconclusive:
 * - `reset`: the TPM was reset or restarted, which empties the digest, or it is another TPM or AK.
 * - `settings`: which commands are audited, or by which hash, was changed.
 * - `taken`: somebody else had the digest signed, which empties it.
 * - `lost`: a connection ended with a command under way, so that what should be there is not known.
 * - `shared`: the operator said that other programs sign with this TPM (`tpm.other_signers`, S16).
 */
export const COMMAND_AUDIT_DOUBTS = ['reset', 'settings', 'taken', 'lost', 'shared'] as const;
export type CommandAuditDoubt = (typeof COMMAND_AUDIT_DOUBTS)[number];

export interface CommandAuditVerdict {
  readonly effect: CommandAuditEffect;
  readonly reason?: CommandAuditDoubt;
}

/** Where the audit stood when the digest was last taken. */
export interface CommandAuditMark {
  /** Qualified Name of the AK, of the TPM by that. */
  readonly qualifiedSigner: Uint8Array;
  readonly auditCounter: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
}

export interface ExpectedDigest {
  /** Empty where nothing was signed. */
  readonly digest: Uint8Array;
  readonly signed: number;
}

export function commandAuditMark({
  auditCounter,
  clockInfo,
  qualifiedSigner,
}: CommandAuditAttest): CommandAuditMark {
  const { resetCount, restartCount } = clockInfo;
  return { auditCounter, resetCount, restartCount, qualifiedSigner };
}

/** What `now` says of the time since `before`. The digest counts for something only in the sequence it belongs to. */
export function judgeCommandAudit(
  before: CommandAuditMark,
  now: CommandAuditAttest,
  expected: ExpectedDigest,
): CommandAuditVerdict {
  const mark = commandAuditMark(now);
  if (
    !sameOctets(mark.qualifiedSigner, before.qualifiedSigner) ||
    mark.resetCount !== before.resetCount ||
    mark.restartCount !== before.restartCount ||
    mark.auditCounter < before.auditCounter
  ) {
    return { effect: 'inconclusive', reason: 'reset' };
  }
  return judgeDigest(before.auditCounter, now, expected);
}

/** As `judgeCommandAudit`, of a digest that nobody signed: its clock and signer say nothing. */
export function judgeDigest(
  counterBefore: bigint,
  { auditCounter, auditDigest, commandDigest, digestAlg }: CommandAuditAttest,
  { digest, signed }: ExpectedDigest,
): CommandAuditVerdict {
  if (!isSignAudited(digestAlg, commandDigest)) return { effect: 'inconclusive', reason: 'settings' };
  const sequences = auditCounter - counterBefore;
  const isUntouched = sequences === (signed > 0 ? 1n : 0n);
  if (isUntouched && sameOctets(auditDigest, digest)) return { effect: 'match' };
  // What was sent has left no trace: it was not audited.
  if (sequences < (signed > 0 ? 1n : 0n)) return { effect: 'inconclusive', reason: 'settings' };
  // One sequence that still holds its digest was taken by nobody: what is over it and was not sent is somebody else's.
  if (sequences === 1n && auditDigest.length > 0) return { effect: 'foreign' };
  return { effect: 'inconclusive', reason: 'taken' };
}

export interface CommandAuditBound {
  /** Root of the audit log's Merkle tree when the digest was taken, base64url, and over how many entries. */
  readonly auditHead: string;
  readonly auditSize: number;
  /** base64url. */
  readonly expected: string;
  readonly signed: number;
}

/** extraData of the TPM's statement (S9, operation `command-audit`), 32 octets. */
export function commandAuditData({ auditHead, auditSize, expected, signed }: CommandAuditBound): Uint8Array {
  const bound = canonicalJson({ auditHead, auditSize, expected, signed });
  return attestedData('command-audit', '', Buffer.from(bound), undefined);
}
