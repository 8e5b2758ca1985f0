/** An ESYS connection to a swtpm of its own, and the keys that most TPM tests start from. */
import { execFileSync } from 'node:child_process';
import { EsysConnection, PERMANENT, TssFault, type EsysHandle } from '../../src/backend/tpm/esys.ts';
import { TpmWriter } from '../../src/wire/tpm/codec.ts';
import { TPM_ALG, TPM_CAP } from '../../src/wire/tpm/constants.ts';
import { akTemplate, signingKeyTemplate, srkTemplate } from '../../src/wire/tpm/templates.ts';
import { startSwtpm, type TestSwtpm, type TestSwtpmOptions } from './swtpm.ts';

export interface TestTpm {
  readonly swtpm: TestSwtpm;
  readonly esys: EsysConnection;
  /** Runs a tpm2-tool against the same TPM; its standard output. */
  tool(name: string, ...args: string[]): string;
  stop(): Promise<void>;
}

export async function startTpm(options: TestSwtpmOptions = {}): Promise<TestTpm> {
  const swtpm = await startSwtpm(options);
  const esys = await EsysConnection.open(swtpm.tcti);
  return {
    swtpm,
    esys,
    tool: (name, ...args) =>
      execFileSync(name, args, { env: swtpm.env, cwd: swtpm.dir, encoding: 'utf8', timeout: 30_000 }),
    async stop() {
      await esys.close();
      await swtpm.stop();
    },
  };
}

export async function createSrk(esys: EsysConnection): Promise<EsysHandle> {
  const { handle } = await esys.createPrimary({ parent: PERMANENT.owner, inPublic: srkTemplate() });
  return handle;
}

export async function createAk(esys: EsysConnection): Promise<EsysHandle> {
  const inPublic = akTemplate(new Uint8Array(32).fill(7));
  return (await esys.createPrimary({ parent: PERMANENT.endorsement, inPublic })).handle;
}

/** A P-256 signing key below `parent`, with empty auth. */
export async function createSigningKey(esys: EsysConnection, parent: EsysHandle): Promise<EsysHandle> {
  return (await esys.createLoaded({ parent, inPublic: signingKeyTemplate('ES256') })).handle;
}

/** The response code that `act` rejects with, undefined where it succeeds; other errors are thrown on. */
export async function rcOf(act: Promise<unknown>): Promise<number | undefined> {
  try {
    await act;
  } catch (error) {
    if (error instanceof TssFault) return error.rc;
    throw error;
  }
  return undefined;
}

/** TPM handles of a range (`0x80000000` transient, `0x02000000` loaded sessions, `0x81000000` persistent). */
export async function handlesOf(esys: EsysConnection, first: number): Promise<readonly number[]> {
  const { capabilityData } = await esys.getCapability({
    capability: TPM_CAP.HANDLES,
    property: first,
    count: 64,
  });
  const count = capabilityData.readUInt32BE(4);
  return Array.from({ length: count }, (_, index) => capabilityData.readUInt32BE(8 + 4 * index));
}

/** TPML_DIGEST_VALUES with one SHA-256 digest. */
export function sha256DigestValues(digest: Uint8Array): Uint8Array {
  return new TpmWriter().u32(1).u16(TPM_ALG.SHA256).octets(digest).toOctets();
}
