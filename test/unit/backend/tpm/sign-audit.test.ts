import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { TssFault } from '../../../../src/backend/tpm/esys.ts';
import { SignAudit } from '../../../../src/backend/tpm/sign-audit.ts';
import { KeydError } from '../../../../src/wire/problem.ts';

const TPM_RC_AUTH_FAIL = 0x98e;
const TCTI_IO_ERROR = 0xa_000a;

async function after(thrown: Error): Promise<SignAudit> {
  const audit = new SignAudit();
  audit.begin();
  await expect(audit.follow(Promise.reject(thrown), randomBytes(32))).rejects.toBe(thrown);
  return audit;
}

it.each([
  ['the TPM refused', new TssFault(TPM_RC_AUTH_FAIL, 'Esys_Sign'), false],
  ['was taken back before the TPM had it', new KeydError('caller_gone', 'left'), false],
  ['waited past its deadline', new KeydError('deadline_exceeded', 'late'), false],
  ['found the queue full', new KeydError('too_many_requests', 'full'), false],
  ['was cut off', new TssFault(TCTI_IO_ERROR, 'Esys_Sign'), true],
  ['had an answer that is not the TPM’s', new KeydError('tpm_unavailable', 'HMAC'), true],
])('S16: of a TPM2_Sign that %s', async (_, thrown, isLost) => {
  const audit = await after(thrown);
  expect(audit.isLost).toBe(isLost);
  expect(audit.expected.signed).toBe(0);
});
