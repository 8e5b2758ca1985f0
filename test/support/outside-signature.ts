/** A signature by a key of the daemon's, made outside of it by somebody who has its file and its auth value. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeTss2PrivateKey } from '../../src/backend/tpm/tss2-private-key.ts';
import { TpmWriter } from '../../src/wire/tpm/codec.ts';
import type { TestSwtpm } from './swtpm.ts';
import { makeTempDir } from './temp-dir.ts';
import { flushTransient, tpm2Tools } from './tpm2-tools.ts';

/** Attributes of a signing key, for tpm2_createprimary. */
export const SIGNING = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign';

/** @param file TSS2 PRIVATE KEY, PEM, as `exportTss2` gives it */
export async function signOutside(swtpm: TestSwtpm, file: string, auth: Uint8Array): Promise<void> {
  const der = Buffer.from(file.replace(/-----[^-]+-----/g, ''), 'base64');
  const { publicArea, privateArea } = decodeTss2PrivateKey(der);
  const temp = await makeTempDir();
  try {
    await writeFile(join(temp.path, 'k.pub'), new TpmWriter().tpm2b(publicArea).toOctets());
    await writeFile(join(temp.path, 'k.priv'), new TpmWriter().tpm2b(privateArea).toOctets());
    await writeFile(join(temp.path, 'message'), 'pay 9000 to Y');
    const password = Buffer.from(auth).toString('latin1');
    const sign = ['-g', 'sha256', '-s', 'ecdsa', '-c', 'k.ctx', '-p', password, '-o', 'signature', 'message'];
    await flushTransient(swtpm);
    await tpm2Tools(
      swtpm,
      [
        ['tpm2_load', '-Q', '-C', '0x81000001', '-u', 'k.pub', '-r', 'k.priv', '-c', 'k.ctx'],
        ['tpm2_sign', ...sign],
      ],
      { cwd: temp.path },
    );
  } finally {
    await temp.remove();
  }
}

/** A signature by a key that is no key of the daemon's. */
export async function signWithAnotherKey(swtpm: TestSwtpm): Promise<void> {
  const temp = await makeTempDir();
  try {
    await writeFile(join(temp.path, 'message'), 'of another program');
    await flushTransient(swtpm);
    await tpm2Tools(
      swtpm,
      [
        ['tpm2_createprimary', '-Q', '-C', 'o', '-G', 'ecc:ecdsa', '-a', SIGNING, '-c', 'k.ctx'],
        ['tpm2_sign', '-g', 'sha256', '-c', 'k.ctx', '-o', 'signature', 'message'],
      ],
      { cwd: temp.path },
    );
  } finally {
    await temp.remove();
  }
}
