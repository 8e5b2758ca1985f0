import { describe, expect, it } from 'vitest';
import { TssFault } from '../../../../src/backend/tpm/esys.ts';
import {
  describeResponseCode,
  isTpmCode,
  recoveryOf,
  tpmError,
} from '../../../../src/backend/tpm/response-code.ts';
import { KeydError } from '../../../../src/wire/problem.ts';

const codeOf = (rc: number, call = 'Esys_Sign'): string => {
  const error = tpmError(new TssFault(rc, call));
  return error instanceof KeydError ? error.code : 'no KeydError';
};
const recovery = (rc: number, call = 'Esys_Sign'): string | undefined => recoveryOf(new TssFault(rc, call));

describe('TSS2 response codes', () => {
  it.each([
    [0x100, 'tpm_unavailable', 'reopen'],
    [0x128, 'tpm_pcr_changed', 'again'],
    [0x901, 'tpm_session_gap', 'new-sessions'],
    [0x902, 'tpm_object_memory', 'make-room'],
    [0x903, 'tpm_session_memory', 'make-room'],
    [0x905, 'tpm_session_memory', 'make-room'],
    [0x922, 'tpm_retry', 'again'],
    // References to what is not loaded: handle 1, handle 7, session 1, session 7.
    [0x910, 'tpm_reset', 'reopen'],
    [0x916, 'tpm_reset', 'reopen'],
    [0x918, 'tpm_reset', 'reopen'],
    [0x91e, 'tpm_reset', 'reopen'],
    // TPM_RC_HANDLE for handle 1; the same through the kernel's resource manager.
    [0x18b, 'tpm_reset', 'reopen'],
    [0xb018b, 'tpm_reset', 'reopen'],
    // TCTI I/O error; ESYS BAD_SEQUENCE after it; a void handle.
    [0xa000a, 'tpm_unavailable', 'reopen'],
    [0x70007, 'tpm_reset', 'reopen'],
    [0x7000d, 'tpm_reset', 'reopen'],
    [0x80007, 'tpm_reset', 'reopen'],
  ])('0x%s is %s and mended by %s', (rc, code, mended) => {
    expect(codeOf(rc)).toBe(code);
    expect(recovery(rc)).toBe(mended);
  });

  it.each([
    [0x921, 'tpm_lockout'],
    [0xb0921, 'tpm_lockout'],
    [0x98e, 'tpm_auth_failed'],
    [0x9a2, 'tpm_auth_failed'],
    [0xaa2, 'tpm_auth_failed'],
    [0x1df, 'key_not_found'],
    [0x2d2, 'unsupported_algorithm'],
    [0x101, 'tpm_unavailable'],
    [0x90001, 'tpm_unavailable'],
  ])('S20: 0x%s is %s and never tried again', (rc, code) => {
    expect(codeOf(rc)).toBe(code);
    expect(recovery(rc)).toBeUndefined();
  });

  it('tell a void context from a foreign key, and a foreign credential from both', () => {
    expect([codeOf(0x1df, 'Esys_ContextLoad'), recovery(0x1df, 'Esys_ContextLoad')]).toEqual([
      'tpm_reset',
      'reopen',
    ]);
    expect([codeOf(0x1df, 'Esys_Load'), recovery(0x1df, 'Esys_Load')]).toEqual(['key_not_found', undefined]);
    expect(codeOf(0x2c4, 'Esys_ActivateCredential')).toBe('key_not_found');
    // Slots and lockout mean the same everywhere.
    expect(codeOf(0x902, 'Esys_ContextLoad')).toBe('tpm_object_memory');
    expect(codeOf(0x921, 'Esys_ActivateCredential')).toBe('tpm_lockout');
  });

  it('name layer and subject', () => {
    expect(describeResponseCode(0x9a2)).toBe('tpm:session(1) 0x9a2');
    expect(describeResponseCode(0x1df)).toBe('tpm:parameter(1) 0x1df');
    expect(describeResponseCode(0x28b)).toBe('tpm:handle(2) 0x28b');
    expect(describeResponseCode(0xa000a)).toBe('tcti 0xa000a');
    expect(describeResponseCode(0xb0902)).toBe('resource manager 0xb0902');
    expect(describeResponseCode(0xff0001)).toBe('unknown layer 0xff0001');
  });

  it('keep call and code in the message, and leave other errors as they are', () => {
    const error = tpmError(new TssFault(0x902, 'Esys_Load'));
    expect(error).toMatchObject({ message: expect.stringContaining('Esys_Load: tpm 0x902') as unknown });
    const other = new KeydError('conflict', 'x');
    expect(tpmError(other)).toBe(other);
    expect(recoveryOf(other)).toBeUndefined();
    expect(recoveryOf(new TypeError('x'))).toBeUndefined();
  });

  it('find a code whichever handle it speaks of', () => {
    expect(isTpmCode(new TssFault(0x38b, 'x'), 0x8b)).toBe(true);
    expect(isTpmCode(new TssFault(0x100, 'x'), 0x100)).toBe(true);
    expect(isTpmCode(new TssFault(0xa0100, 'x'), 0x100)).toBe(false);
    expect(isTpmCode(new Error('x'), 0x100)).toBe(false);
  });
});
