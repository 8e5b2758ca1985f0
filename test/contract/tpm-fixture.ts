import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AuthDeriver } from '../../src/backend/tpm/key-auth.ts';
import { decodeTss2PrivateKey } from '../../src/backend/tpm/tss2-private-key.ts';
import type { SessionProtection } from '../../src/backend/tpm/tpm-signing.ts';
import type { Algorithm } from '../../src/wire/algorithms.ts';
import { TpmWriter } from '../../src/wire/tpm/codec.ts';
import { startSwtpm, type TestSwtpm } from '../support/swtpm.ts';
import { makeTempDir } from '../support/temp-dir.ts';
import { TpmHost } from '../support/tpm-backend.ts';
import { flushTpm, flushTransient, tpm2Tool, tpm2Tools } from '../support/tpm2-tools.ts';
import type { BackendFixture, ExportAttempt } from './backend-contract.ts';

/** A swtpm; `restartHardware` is a power loss. */
export async function tpmFixture(sessionProtection: SessionProtection): Promise<BackendFixture> {
  const swtpm = await startSwtpm();
  const host = new TpmHost(swtpm.tcti);
  return {
    kind: 'tpm',
    algorithms: ['ES256', 'ES384', 'RS256', 'PS256'],
    open: () => host.open({ sessionProtection, rsa: true }),
    restartHardware: () => swtpm.restart(),
    exportAttempts: (keyId) => exportAttempts(swtpm, host, keyId),
    cleanUp: () => swtpm.stop(),
  };
}

/** By somebody who has the blob and its auth value. */
async function exportAttempts(
  swtpm: TestSwtpm,
  host: TpmHost,
  keyId: string,
): Promise<readonly ExportAttempt[]> {
  const record = await host.store.get(keyId);
  if (record === undefined) throw new Error(`there is no key ${keyId}`);
  const { publicArea, privateArea } = decodeTss2PrivateKey(record.blob);
  const auth = Buffer.from(new AuthDeriver(host.secret).keyAuth(record)).toString('latin1');
  const temp = await makeTempDir();
  const options = { cwd: temp.path };
  try {
    await writeFile(join(temp.path, 'k.pub'), new TpmWriter().tpm2b(publicArea).toOctets());
    await writeFile(join(temp.path, 'k.priv'), new TpmWriter().tpm2b(privateArea).toOctets());
    await writeFile(join(temp.path, 'message'), 'x');
    // The tools need the sessions that the backend has loaded; it starts its own anew. First it leaves its slots.
    await delay(500);
    await flushTpm(swtpm);
    await tpm2Tools(
      swtpm,
      [
        ['tpm2_createprimary', '-Q', '-C', 'o', '-G', 'ecc', '-c', 'parent.ctx'],
        ['tpm2_load', '-Q', '-C', '0x81000001', '-u', 'k.pub', '-r', 'k.priv', '-c', 'k.ctx'],
        // The auth is right: what is refused below is refused for what it is.
        ['tpm2_sign', ...SCHEMES[record.algorithm], '-c', 'k.ctx', '-p', auth, '-o', 'signature', 'message'],
        ['tpm2_startauthsession', '--policy-session', '-S', 's.ctx'],
        ['tpm2_policycommandcode', '-Q', '-S', 's.ctx', 'TPM2_CC_Duplicate'],
      ],
      options,
    );
    const attempts: Readonly<Record<string, readonly [string, ...string[]]>> = {
      'TPM2_Duplicate with its auth': ['tpm2_duplicate', ...duplicate, '-p', auth],
      'TPM2_Duplicate in a policy session': ['tpm2_duplicate', ...duplicate, '-p', 'session:s.ctx'],
      TPM2_Unseal: ['tpm2_unseal', '-c', 'k.ctx', '-p', auth],
      'TPM2_Load below a parent whose key is known': [
        'tpm2_load',
        '-C',
        'parent.ctx',
        '-u',
        'k.pub',
        '-r',
        'k.priv',
        '-c',
        'x.ctx',
      ],
      'TPM2_ObjectChangeAuth below that parent': [
        'tpm2_changeauth',
        '-C',
        'parent.ctx',
        '-c',
        'k.ctx',
        '-p',
        auth,
        '-r',
        'x.priv',
        'x',
      ],
    };
    const results: ExportAttempt[] = [];
    for (const [name, command] of Object.entries(attempts)) {
      const { ok, text } = await tpm2Tool(swtpm, command, options);
      // The TPM itself has to refuse; a tool that stumbled has tried nothing.
      results.push({ name, refused: !ok && /tpm:/.test(text), answer: text.trim() });
      await flushTransient(swtpm);
    }
    // It may have gone with the others that made room.
    await tpm2Tool(swtpm, ['tpm2_flushcontext', 's.ctx'], options);
    return results;
  } finally {
    await temp.remove();
  }
}

const duplicate = ['-C', 'parent.ctx', '-c', 'k.ctx', '-G', 'null', '-r', 'x.dup', '-s', 'x.seed'] as const;

const SCHEMES: Readonly<Record<Algorithm, readonly string[]>> = {
  ES256: ['-g', 'sha256', '-s', 'ecdsa'],
  ES384: ['-g', 'sha384', '-s', 'ecdsa'],
  RS256: ['-g', 'sha256', '-s', 'rsassa'],
  PS256: ['-g', 'sha256', '-s', 'rsapss'],
  Ed25519: [],
};
