import { CKR } from './constants.ts';
import { KeydError, type ErrorCode } from '../../wire/problem.ts';

/**
 * What makes the next call work. `reconnect`: sessions, or the library's picture of the token, are lost;
 * `login`: the session is there but nobody is logged in; `look-again`: the object handle is stale.
 */
export type Recovery = 'none' | 'reconnect' | 'login' | 'look-again';

interface Meaning {
  readonly name: string;
  readonly code: ErrorCode;
  readonly recovery: Recovery;
}

const MEANINGS: ReadonlyMap<number, Meaning> = new Map(
  (
    [
      [CKR.slotIdInvalid, 'CKR_SLOT_ID_INVALID', 'token_unavailable', 'reconnect'],
      [CKR.generalError, 'CKR_GENERAL_ERROR', 'token_unavailable', 'reconnect'],
      [CKR.functionFailed, 'CKR_FUNCTION_FAILED', 'token_unavailable', 'reconnect'],
      [CKR.deviceError, 'CKR_DEVICE_ERROR', 'token_unavailable', 'reconnect'],
      [CKR.deviceRemoved, 'CKR_DEVICE_REMOVED', 'token_unavailable', 'reconnect'],
      [CKR.tokenNotPresent, 'CKR_TOKEN_NOT_PRESENT', 'token_unavailable', 'reconnect'],
      [CKR.tokenNotRecognized, 'CKR_TOKEN_NOT_RECOGNIZED', 'token_unavailable', 'reconnect'],
      [CKR.sessionClosed, 'CKR_SESSION_CLOSED', 'token_unavailable', 'reconnect'],
      [CKR.sessionHandleInvalid, 'CKR_SESSION_HANDLE_INVALID', 'token_unavailable', 'reconnect'],
      [CKR.cryptokiNotInitialized, 'CKR_CRYPTOKI_NOT_INITIALIZED', 'token_unavailable', 'reconnect'],
      [CKR.userNotLoggedIn, 'CKR_USER_NOT_LOGGED_IN', 'token_unavailable', 'login'],
      [CKR.keyHandleInvalid, 'CKR_KEY_HANDLE_INVALID', 'key_not_found', 'look-again'],
      [CKR.objectHandleInvalid, 'CKR_OBJECT_HANDLE_INVALID', 'key_not_found', 'look-again'],
      [CKR.pinIncorrect, 'CKR_PIN_INCORRECT', 'token_login_failed', 'none'],
      [CKR.pinInvalid, 'CKR_PIN_INVALID', 'token_login_failed', 'none'],
      [CKR.pinLenRange, 'CKR_PIN_LEN_RANGE', 'token_login_failed', 'none'],
      [CKR.pinExpired, 'CKR_PIN_EXPIRED', 'token_login_failed', 'none'],
      [CKR.userPinNotInitialized, 'CKR_USER_PIN_NOT_INITIALIZED', 'token_login_failed', 'none'],
      [CKR.pinLocked, 'CKR_PIN_LOCKED', 'token_pin_locked', 'none'],
      [CKR.keySizeRange, 'CKR_KEY_SIZE_RANGE', 'unsupported_algorithm', 'none'],
      [CKR.keyTypeInconsistent, 'CKR_KEY_TYPE_INCONSISTENT', 'unsupported_algorithm', 'none'],
      [CKR.mechanismInvalid, 'CKR_MECHANISM_INVALID', 'unsupported_algorithm', 'none'],
      [CKR.mechanismParamInvalid, 'CKR_MECHANISM_PARAM_INVALID', 'unsupported_algorithm', 'none'],
      [CKR.domainParamsInvalid, 'CKR_DOMAIN_PARAMS_INVALID', 'unsupported_algorithm', 'none'],
      [CKR.curveNotSupported, 'CKR_CURVE_NOT_SUPPORTED', 'unsupported_algorithm', 'none'],
      [CKR.hostMemory, 'CKR_HOST_MEMORY', 'backend_unavailable', 'none'],
      [CKR.deviceMemory, 'CKR_DEVICE_MEMORY', 'backend_unavailable', 'none'],
      [CKR.sessionCount, 'CKR_SESSION_COUNT', 'backend_unavailable', 'none'],
      [CKR.tokenWriteProtected, 'CKR_TOKEN_WRITE_PROTECTED', 'backend_unavailable', 'none'],
    ] as const
  ).map(([rv, name, code, recovery]) => [rv, { name, code, recovery }]),
);

/** The token saw the PIN and refused it: the same PIN must not be tried again (S17). */
const PIN_REFUSALS: ReadonlySet<number> = new Set([
  CKR.pinIncorrect,
  CKR.pinInvalid,
  CKR.pinLenRange,
  CKR.pinLocked,
]);

/** A PKCS#11 function that failed in the module host; the supervisor sees what to do about it. */
export class ReturnValueFault extends Error {
  readonly rv: number;
  /** The C function: `C_SignInit`. */
  readonly call: string;

  constructor(rv: number, call: string) {
    super(`${call} answered ${MEANINGS.get(rv)?.name ?? `CKR 0x${rv.toString(16)}`}`);
    this.name = 'ReturnValueFault';
    this.rv = rv;
    this.call = call;
  }
}

export function recoveryOf(rv: number): Recovery {
  return MEANINGS.get(rv)?.recovery ?? 'none';
}

export function isPinRefusal(rv: number): boolean {
  return PIN_REFUSALS.has(rv);
}

/**
 * A fault of the module to the room's error (PKCS#11 v3.0 §5.1). What the table does not name is a fault
 * between this program and the module, hence `internal`.
 */
export function fromReturnValue(fault: ReturnValueFault): KeydError {
  const code = MEANINGS.get(fault.rv)?.code ?? 'internal';
  return new KeydError(code, `The PKCS#11 module failed: ${fault.message}`, { cause: fault });
}
