/** A TPM's own account of its signatures, taken and held against what this process had it sign. */
import type { CommandAuditMark, CommandAuditVerdict, ExpectedDigest } from '../wire/command-audit.ts';
import type { SignedAttest } from './attester.ts';

export interface CommandAuditReading extends SignedAttest, CommandAuditVerdict {
  /** TPMT_PUBLIC of the AK that signed it. */
  readonly ak: Uint8Array;
  /** What the digest should be, base64url; empty for none. */
  readonly expected: string;
  /** Signatures since it was last taken. */
  readonly signed: number;
}

export interface CommandAuditCheck {
  /** Take the digest even where it is as it should be. */
  readonly always: boolean;
  /** extraData (32 octets), asked for while nothing is signed. */
  readonly bind: (expected: string, signed: number) => Uint8Array;
}

/** Where the digest should be after an orderly stop; gone once it was read, for it holds only until the next signature. */
export interface RememberedAudit {
  readonly mark: CommandAuditMark;
  readonly expected: ExpectedDigest;
}

/** Both are durable when they resolve. */
export interface CommandAuditMemory {
  take(): Promise<RememberedAudit | undefined>;
  save(audit: RememberedAudit): Promise<void>;
}

/** Calls reject with KeydError `tpm_*`. */
export interface CommandAudit {
  /** Before the first signature: goes on from what an orderly stop had kept. */
  resume(): Promise<void>;
  /** Undefined where the digest is as it should be and was left alone. */
  check(options: CommandAuditCheck): Promise<CommandAuditReading | undefined>;
  /** After the last signature: what the next start goes on from. */
  end(): Promise<void>;
}
