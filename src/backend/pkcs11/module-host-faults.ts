/** What goes wrong with a module host, as its callers are told. */
import { asKeydError, KeydError } from '../../wire/problem.ts';
import { fromReturnValue, ReturnValueFault } from './return-value.ts';

/** The process ended before it answered. */
export class ModuleHostGone extends Error {
  /** Whether the module may have seen the call. */
  readonly sent: boolean;

  /** @param reason how it ended: `was ended by SIGSEGV` */
  constructor(reason: string, sent: boolean) {
    super(reason);
    this.name = 'ModuleHostGone';
    this.sent = sent;
  }
}

/** What a failed request rejects with. */
export function toKeydError(thrown: unknown): KeydError {
  if (thrown instanceof ModuleHostGone) {
    return new KeydError('module_host_died', `The PKCS#11 module host ${thrown.message}: try again`, {
      cause: thrown,
      retryAfterSeconds: 1,
    });
  }
  return thrown instanceof ReturnValueFault ? fromReturnValue(thrown) : asKeydError(thrown);
}

/** Why the token can not be reached at all. */
export function connectFault(thrown: unknown): KeydError {
  if (!(thrown instanceof ModuleHostGone)) return toKeydError(thrown);
  const message = `The PKCS#11 module host ${thrown.message} at start: check the module`;
  return new KeydError('backend_unavailable', message, { cause: thrown });
}

/** The same fault for another caller, with a stack of its own. */
export function sameFault(fault: KeydError): KeydError {
  return new KeydError(fault.code, fault.message, { cause: fault });
}
