/** Tries everything PKCS#11 has to get a private key out, in a process of its own that knows the PIN. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ExportAttempt } from '../contract/backend-contract.ts';
import { USER_PIN, type TestSofthsm } from './softhsm.ts';

/** Runs `pkcs11-export-attempts.cjs` against the token. */
export async function pkcs11ExportAttempts(
  hsm: TestSofthsm,
  keyId: string,
): Promise<readonly ExportAttempt[]> {
  const script = fileURLToPath(new URL('./pkcs11-export-attempts.cjs', import.meta.url));
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [script, hsm.module, hsm.tokenLabel, USER_PIN, keyId.replaceAll('-', '')],
    { env: hsm.env, timeout: 30_000 },
  );
  return JSON.parse(stdout) as readonly ExportAttempt[];
}
