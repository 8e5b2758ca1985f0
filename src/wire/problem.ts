/**
 * The one error that crosses rooms, its stable codes, and its RFC 9457 form.
 * A code is an API: callers branch on `code` (or the problem `type`), never on the message.
 */

/** code -> HTTP status and title. Titles are fixed; the detail is the error's message. */
const CODES = {
  // 400: the request itself
  malformed_request: [400, 'The request is malformed'],
  malformed_json: [400, 'The body is not strict JSON'],
  malformed_structure: [400, 'A binary structure is malformed'],
  malformed_jws: [400, 'A JWS is malformed'],
  invalid_target_uri: [400, 'targetUri is not in canonical form'],
  invalid_header: [400, 'A header field may not be signed as given'],
  invalid_component: [400, 'A covered component is unknown or may not be chosen'],
  invalid_name: [400, 'The agent name is not allowed'],
  unsupported_algorithm: [400, 'The algorithm is not supported here'],
  time_not_acceptable: [400, 'The requested time is the daemon’s to set'],
  configuration_invalid: [400, 'The configuration is invalid'],
  // 401/403: who, and what they may
  caller_unknown: [403, 'The caller could not be identified'],
  policy_denied: [403, 'Policy does not allow this'],
  type_reserved: [403, 'This token type is never signed here'],
  claim_reserved: [403, 'This claim is never signed here'],
  raw_signing_off: [403, 'Signing raw octets is off'],
  digest_without_body: [403, 'A digest without its body is not signed'],
  issuer_authority: [403, 'Requests to the issuer are not signed for callers'],
  token_not_bound: [403, 'The token is not bound to this key'],
  name_not_permitted: [403, 'This name may not be created here'],
  no_grant: [403, 'The agent has no grant of its principal'],
  authority_exceeded: [403, 'The agent’s authority does not cover this'],
  delegation_refused: [403, 'A delegation may not be wider than its parent'],
  delegation_revoked: [403, 'The delegation was revoked'],
  delegation_expired: [403, 'The delegation has ended'],
  unbound_parameters: [403, 'The proof does not bind what policy reads'],
  amount_not_exact: [403, 'An amount can not be judged exactly'],
  budget_exceeded: [403, 'The budget does not cover this'],
  limit_reached: [403, 'A limit of the policy is reached'],
  decision_point_denied: [403, 'The external decision point does not permit this'],
  approval_denied: [403, 'A person denied this'],
  approval_pending: [403, 'A person has to allow this first'],
  evidence_invalid: [403, 'The attestation evidence is invalid'],
  appraisal_denied: [403, 'Evidence is valid, policy does not accept it'],
  host_not_approved: [403, 'This host is not approved'],
  signature_invalid: [401, 'A signature does not verify'],
  verification_failed: [401, 'The request could not be verified'],
  replayed: [401, 'This was used before'],
  // 404/405/406/409/410/413/415/422
  not_found: [404, 'There is no such resource'],
  agent_not_found: [404, 'There is no such agent'],
  approval_not_found: [404, 'There is no such approval'],
  method_not_allowed: [405, 'The method is not allowed here'],
  conflict: [409, 'This conflicts with the present state'],
  name_in_use: [409, 'The name is in use or was used before'],
  approval_void: [409, 'The approval holds no more'],
  request_needed: [409, 'The request has to be made again'],
  session_unknown: [409, 'The session is unknown, used or expired'],
  key_retired: [410, 'The key has been destroyed'],
  body_too_large: [413, 'The body is too large'],
  unsupported_media_type: [415, 'The media type is not supported'],
  idempotency_mismatch: [422, 'The Idempotency-Key was used for another request'],
  header_too_large: [431, 'The header is too large'],
  request_timeout: [408, 'The request took too long to arrive'],
  // 429/5xx
  too_many_requests: [429, 'Too many requests'],
  deadline_exceeded: [503, 'The deadline passed before the hardware was free'],
  caller_gone: [499, 'The caller went away'],
  shutting_down: [503, 'The daemon is shutting down'],
  replay_check_unavailable: [503, 'Whether this was used before can not be checked'],
  status_unavailable: [503, 'Whether this was revoked can not be told'],
  ledger_rolled_back: [503, 'The ledger is older than the TPM’s counter'],
  ledger_unavailable: [503, 'The ledger can not be written'],
  audit_unavailable: [503, 'The audit log can not be written'],
  backend_starting: [503, 'The key backend is starting'],
  backend_unavailable: [503, 'The key backend is not available'],
  not_enrolled: [503, 'This host is not enrolled with an issuer'],
  credential_unavailable: [503, 'No valid credential is available yet'],
  issuer_unavailable: [503, 'The issuer can not be reached'],
  issuer_refused: [502, 'The issuer refused'],
  decision_point_unavailable: [503, 'The external decision point gives no answer'],
  decision_point_invalid: [502, 'The external decision point’s answer can not be used'],
  tpm_unavailable: [503, 'The TPM can not be reached'],
  tpm_reset: [503, 'The TPM was reset; its contexts are gone'],
  tpm_cleared: [503, 'The TPM was cleared; its keys are gone'],
  tpm_replaced: [503, 'This is another TPM than the one enrolled'],
  tpm_lockout: [503, 'The TPM is in dictionary-attack lockout'],
  tpm_object_memory: [503, 'The TPM has no free object slot'],
  tpm_session_memory: [503, 'The TPM has no free session slot'],
  tpm_session_gap: [503, 'The TPM’s session counter gap is exhausted'],
  tpm_pcr_changed: [503, 'A PCR changed while a policy was being satisfied'],
  tpm_counter_gone: [503, 'The TPM’s counter of this host is gone'],
  tpm_counter_foreign: [503, 'Another counter is in the place of this host’s'],
  tpm_retry: [503, 'The TPM asks to retry'],
  tpm_auth_failed: [503, 'The TPM refused the key’s authorization'],
  token_unavailable: [503, 'The PKCS#11 token is not present'],
  token_login_failed: [503, 'The PKCS#11 token refused the PIN'],
  token_pin_locked: [503, 'The PIN is locked or on its final try'],
  module_host_died: [503, 'The PKCS#11 module host died during the call'],
  key_not_found: [503, 'The hardware does not hold this key'],
  key_exportable: [500, 'The hardware made a key that can be exported'],
  signature_mismatch: [500, 'The hardware returned a signature that does not verify'],
  state_newer: [500, 'The state was written by a newer version'],
  daemon_unreachable: [503, 'The daemon can not be reached'],
  internal: [500, 'Internal error'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

/** Every stable error code. */
export type ErrorCode = keyof typeof CODES;

/** RFC 9457 problem document. `detail` is absent where it could leak internals (code `internal`). */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail?: string;
  /** Every fault found in the request, one sentence each, in document order. */
  readonly faults?: readonly string[];
  /** Seconds; also sent as `Retry-After`. */
  readonly retryAfterSeconds?: number;
}

export interface KeydErrorOptions {
  readonly cause?: unknown;
  readonly faults?: readonly string[];
  readonly retryAfterSeconds?: number;
}

/** The typed error of all rooms. The message says what is wrong and what the person can do next. */
export class KeydError extends Error {
  readonly code: ErrorCode;
  readonly faults: readonly string[] | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: KeydErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KeydError';
    this.code = code;
    this.faults = options.faults;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  /** HTTP status of this code. */
  get status(): number {
    return CODES[this.code][0];
  }

  /** The RFC 9457 document. A bare `internal` tells its title only: the detail belongs in the log. */
  toProblem(): ProblemDocument {
    const [status, title] = CODES[this.code];
    return {
      type: `urn:agentkeyd:problem:${this.code}`,
      title,
      status,
      code: this.code,
      ...(this.code === 'internal' ? {} : { detail: this.message }),
      ...(this.faults === undefined ? {} : { faults: this.faults }),
      ...(this.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: this.retryAfterSeconds }),
    };
  }
}

/** Any thrown value as a KeydError; what is not one becomes `internal` with the original as cause. */
export function asKeydError(thrown: unknown): KeydError {
  if (thrown instanceof KeydError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new KeydError('internal', message, { cause: thrown });
}

/** Whether `text` is one of our codes (for clients that read a problem document). */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(CODES, text);
}
