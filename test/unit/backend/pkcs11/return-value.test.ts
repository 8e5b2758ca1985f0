import { describe, expect, it } from 'vitest';
import { CKA, CKF, CKK, CKM, CKO, CKR } from '../../../../src/backend/pkcs11/constants.ts';
import {
  fromReturnValue,
  isPinRefusal,
  recoveryOf,
  ReturnValueFault,
} from '../../../../src/backend/pkcs11/return-value.ts';
import pkcs11js from 'pkcs11js';

describe('return values of a module', () => {
  it('have the numbers that PKCS#11 gives them, as have all other constants', () => {
    const standard = pkcs11js as unknown as Readonly<Record<string, number | undefined>>;
    const missing: string[] = [];
    for (const [prefix, group] of Object.entries({ CKA, CKF, CKK, CKM, CKO, CKR })) {
      for (const [name, value] of Object.entries(group)) {
        const upper = `${prefix}_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
        if (standard[upper] === undefined) missing.push(upper);
        else expect([upper, value]).toEqual([upper, standard[upper]]);
      }
    }
    // The binding knows PKCS#11 v2.40; v3.0 added the Edwards curves and this return value.
    expect(missing).toEqual([
      'CKK_EC_EDWARDS',
      'CKM_EC_EDWARDS_KEY_PAIR_GEN',
      'CKM_EDDSA',
      'CKR_CURVE_NOT_SUPPORTED',
    ]);
  });

  it.each([
    [CKR.tokenNotPresent, 'token_unavailable', 'reconnect'],
    [CKR.deviceRemoved, 'token_unavailable', 'reconnect'],
    [CKR.sessionHandleInvalid, 'token_unavailable', 'reconnect'],
    [CKR.userNotLoggedIn, 'token_unavailable', 'login'],
    [CKR.objectHandleInvalid, 'key_not_found', 'look-again'],
    [CKR.pinIncorrect, 'token_login_failed', 'none'],
    [CKR.pinLocked, 'token_pin_locked', 'none'],
    [CKR.mechanismInvalid, 'unsupported_algorithm', 'none'],
    [CKR.deviceMemory, 'backend_unavailable', 'none'],
    [0x07, 'internal', 'none'],
    [0x8000_0001, 'internal', 'none'],
  ] as const)('0x%s is %s, recovered by: %s', (rv, code, recovery) => {
    const fault = new ReturnValueFault(rv, 'C_Sign');
    const error = fromReturnValue(fault);
    expect(error.code).toBe(code);
    expect(error.cause).toBe(fault);
    expect(error.message).toContain('C_Sign');
    expect(recoveryOf(rv)).toBe(recovery);
  });

  it('S17: tell a refused PIN from a token that did not look at it', () => {
    for (const rv of [CKR.pinIncorrect, CKR.pinInvalid, CKR.pinLenRange, CKR.pinLocked]) {
      expect(isPinRefusal(rv)).toBe(true);
    }
    for (const rv of [CKR.tokenNotPresent, CKR.deviceError, CKR.sessionHandleInvalid, 0]) {
      expect(isPinRefusal(rv)).toBe(false);
    }
  });
});
