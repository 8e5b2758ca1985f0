/** Step: what a thief or a liar tries. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, KeydError, type AgentKeyClient } from 'agentkeyd/client';
import pkcs11js from 'pkcs11js';
import { startSwtpm } from '../sandbox/swtpm.ts';
import type { SandboxDescription } from '../sandbox/description.ts';
import { enrolSoftwareKey, enrolUnrestricted } from './forged-enrolment.ts';
import type { IssuerAnswer } from './issuer-client.ts';
import type { DemoAgents } from './keys.ts';
import { refused, step } from './narrator.ts';
import { tool, toolRefusal } from './tools.ts';

export async function showRefusals(
  client: AgentKeyClient,
  agents: DemoAgents,
  sandbox: SandboxDescription,
  dir: string,
): Promise<void> {
  step('What a thief tries: take the key away');
  await refused('loading the TPM key’s file into another TPM (0x1DF: integrity)', /0x0*1df/, async () =>
    loadElsewhere(agents, sandbox, dir),
  );
  await refused(
    'reading the private key out of the token, with the PIN',
    /CKR_ATTRIBUTE_SENSITIVE/,
    async () => readPrivateValue(sandbox),
  );

  step('What a liar tries: a signature over anything, a token of somebody else’s making');
  await refused('signing a raw digest', /raw/i, async () =>
    codeOf(async () => agents.tpm.signRaw(Buffer.alloc(32))),
  );
  await refused('having the daemon sign a delegation link', /reserved|never signed/i, async () =>
    codeOf(async () => agents.tpm.signJwt('agentkey-delegation+jwt', {})),
  );
  await refused('a JWT that confirms another key', /reserved|never signed|cnf/i, async () =>
    codeOf(async () => agents.tpm.signJwt('example+jwt', { cnf: { jkt: 'x' } })),
  );
  await refused('an agent that does not exist', /no.*agent|such agent/i, async () =>
    codeOf(async () => client.agent('nobody')),
  );

  step('What an impostor tries: enrol as this host with an AK of his own');
  const target = {
    issuerUrl: sandbox.issuerUrl,
    ca: await readFile(sandbox.issuerCaFile, 'utf8'),
    ekCertificate: await ekCertificate(sandbox, dir),
  };
  await refused('an AK that is not restricted (it could sign any statement)', /check 8/, async () =>
    problemOf(await enrolUnrestricted(target)),
  );
  await refused('a software key that claims to live in the TPM', /check 10/, async () =>
    problemOf(await enrolSoftwareKey(target)),
  );
}

/** The key file of the TPM agent, and another TPM to load it into. */
async function loadElsewhere(
  agents: DemoAgents,
  sandbox: SandboxDescription,
  dir: string,
): Promise<string | undefined> {
  const admin = connect({ socketPath: sandbox.adminSocket });
  const { pem } = (await admin.call('POST', `/v1/agents/${agents.tpm.id}/export-tss2`, {})) as {
    readonly pem: string;
  };
  admin.close();
  const file = join(dir, 'planner.tss2.pem');
  await writeFile(file, pem);
  const elsewhere = join(dir, 'elsewhere');
  await mkdir(elsewhere);
  const other = await startSwtpm(elsewhere);
  try {
    const env = { TPM2TOOLS_TCTI: other.tcti, TPM2OPENSSL_TCTI: other.tcti };
    await tool('tpm2_createprimary', ['-C', 'o', '-G', 'ecc', '-c', join(elsewhere, 'srk.ctx')], { env });
    await tool('tpm2_evictcontrol', ['-C', 'o', '-c', join(elsewhere, 'srk.ctx'), '0x81000001'], { env });
    await tool('tpm2_flushcontext', ['-t'], { env });
    return await toolRefusal(
      'openssl',
      ['pkey', '-provider', 'tpm2', '-provider', 'base', '-in', file, '-pubout'],
      { env },
    );
  } finally {
    await other.end('SIGTERM');
  }
}

/** Logs in to the token as its owner could, and asks for the private value of every key in it. */
async function readPrivateValue(sandbox: SandboxDescription): Promise<string | undefined> {
  process.env['SOFTHSM2_CONF'] = sandbox.softhsm2Conf;
  const pin = (await readFile(sandbox.pinFile, 'utf8')).trim();
  const cryptoki = new pkcs11js.PKCS11();
  cryptoki.load(sandbox.pkcs11Module);
  cryptoki.C_Initialize();
  try {
    const slot = cryptoki
      .C_GetSlotList(true)
      .find((each) => cryptoki.C_GetTokenInfo(each).label.trim() === sandbox.tokenLabel);
    if (slot === undefined) throw new Error(`there is no token ${sandbox.tokenLabel}`);
    const session = cryptoki.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION);
    cryptoki.C_Login(session, pkcs11js.CKU_USER, pin);
    cryptoki.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY }]);
    const [key] = cryptoki.C_FindObjects(session, 1);
    cryptoki.C_FindObjectsFinal(session);
    if (key === undefined) throw new Error('there is no private key in the token');
    cryptoki.C_GetAttributeValue(session, key, [{ type: pkcs11js.CKA_VALUE }]);
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof pkcs11js.Pkcs11Error)) throw thrown;
    return thrown.message;
  } finally {
    cryptoki.C_Finalize();
  }
}

async function ekCertificate(sandbox: SandboxDescription, dir: string): Promise<Uint8Array> {
  const file = join(dir, 'ek.der');
  await tool('tpm2_nvread', ['0x1c0000a', '-o', file], { env: { TPM2TOOLS_TCTI: sandbox.tcti } });
  return readFile(file);
}

/** Code and reason of a refusal; undefined where there was none. */
export async function codeOf(act: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await act();
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof KeydError)) throw thrown;
    return `${thrown.code}: ${thrown.message}`;
  }
}

function problemOf({ status, body }: IssuerAnswer): string | undefined {
  return status < 300 ? undefined : `${String(body['code'])}: ${String(body['detail'])}`;
}
