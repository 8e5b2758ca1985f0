/** What an audit log can be found to be, by stable names. */

const CODES = {
  // Entries
  entry_malformed: 'fault',
  entry_changed: 'fault',
  entry_removed: 'fault',
  entry_reordered: 'fault',
  /** A place is taken twice. */
  entry_inserted: 'fault',
  /** Behind the end that was signed as such. */
  entry_appended: 'fault',
  /** The entries fit one another, and are not those that were signed. */
  history_rewritten: 'fault',
  // The whole
  /** Shorter than its own newest checkpoint. */
  tail_cut: 'fault',
  /** Whole in itself, and older than what was seen of it. */
  log_restored: 'fault',
  /** Signed by the right key, and not the log that was seen before: restored, then written on. */
  log_forked: 'fault',
  /** Its last anchor is below the counter's present value. */
  counter_ahead: 'fault',
  // Checkpoints
  checkpoint_malformed: 'fault',
  checkpoint_invalid: 'fault',
  /** By another key, or of another log. */
  checkpoint_foreign: 'fault',
  /** Nothing of the log is signed. */
  checkpoint_missing: 'fault',
  // Signatures
  /** The TPM performed an audited command that the daemon did not send. */
  signed_outside_daemon: 'fault',
  /** What an entry says of the TPM's command audit is not what the TPM signed. */
  command_audit_invalid: 'fault',
  export_malformed: 'fault',
  proof_invalid: 'fault',
  // What is no fault, and worth knowing
  /** Entries that no checkpoint is over yet. */
  tail_unsigned: 'notice',
  /** What a crash had left unfinished. */
  tail_torn: 'notice',
  /** Nothing is told of signatures outside the daemon in that time. */
  command_audit_inconclusive: 'notice',
  /** By a key that is not given, over entries that a trusted one vouches for too. */
  checkpoint_key_unknown: 'notice',
} as const satisfies Record<string, 'fault' | 'notice'>;

export type AuditFindingCode = keyof typeof CODES;

export interface AuditFinding {
  readonly code: AuditFindingCode;
  readonly severity: 'fault' | 'notice';
  /** Index of the entry, or of the first of several. */
  readonly from?: number;
  /** Behind the last of several, exclusive. */
  readonly to?: number;
  /** One sentence for a person. */
  readonly detail: string;
}

export function finding(
  code: AuditFindingCode,
  detail: string,
  from?: number,
  to = from === undefined ? undefined : from + 1,
): AuditFinding {
  return {
    code,
    severity: CODES[code],
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    detail,
  };
}
