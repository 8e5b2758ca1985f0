import type { BackendDescription } from '../backend.ts';
import type { TokenReport } from './module-host-messages.ts';
import type { SupervisorStatus } from './module-host-supervisor.ts';

/** What may be said of a token in this state. */
export function describeToken(status: SupervisorStatus): BackendDescription {
  if (status.state === 'ready') {
    const { label, manufacturer, model, serial, firmware, library, algorithms } = status.token;
    return {
      kind: 'pkcs11',
      state: 'ready',
      algorithms,
      ...assuranceOf(status.token),
      hardware: { manufacturer, model, serial, label, firmware, library },
    };
  }
  return {
    kind: 'pkcs11',
    state: status.state,
    fault:
      status.state === 'starting'
        ? 'The token is being opened: this takes as long as the module needs to read its objects'
        : status.fault.message,
    algorithms: [],
    assurance: 'software',
    assuranceReason: 'No token answers, so nothing is claimed for it',
    hardware: {},
  };
}

// The attributes of a key are the library's claims, not evidence: only a verified adapter may say more.
function assuranceOf(token: TokenReport): Pick<BackendDescription, 'assurance' | 'assuranceReason'> {
  return token.manufacturer.startsWith('SoftHSM')
    ? {
        assurance: 'software',
        assuranceReason: 'SoftHSM keeps keys in files: whoever has them and the PIN can copy them',
      }
    : {
        assurance: 'asserted',
        assuranceReason:
          'The operator vouches for this token; PKCS#11 gives no evidence of where a key lives',
      };
}
