/** S16: a real daemon with TPM command audit on, and somebody with a copy of its state and secret who signs beside it. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { programFile } from '../../scripts/sandbox/programs.ts';
import { EsysConnection } from '../../src/backend/tpm/esys.ts';
import { AuthDeriver } from '../../src/backend/tpm/key-auth.ts';
import { TPM_CC } from '../../src/wire/tpm/constants.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { signOutside } from '../support/outside-signature.ts';
import { startSwtpm, type TestSwtpm } from '../support/swtpm.ts';
import { tpm2Tool } from '../support/tpm2-tools.ts';

const run = promisify(execFile);

let tpm: TestSwtpm;
let daemon: TestDaemon;

beforeAll(async () => {
  tpm = await startSwtpm();
  daemon = await startDaemon({ tpm, config: { tpm: { tcti: tpm.tcti, command_audit: true } } });
  expect((await daemon.request('POST', '/v1/agents', { name: 'a', backend: 'tpm' })).status).toBe(201);
  const { text } = await daemon.request('GET', '/v1/audit/checkpoint');
  writeFileSync(join(daemon.dir, 'audit-key.json'), text);
}, 60_000);
afterAll(async () => {
  await daemon.remove();
  await tpm.stop();
});

async function sign(): Promise<void> {
  const body = { typ: 'note+jwt', claims: { aud: 'https://bank.example' } };
  expect((await daemon.request('POST', '/v1/agents/a/sign/jwt', body)).status).toBe(200);
}

interface Status {
  readonly state: string;
  readonly commandAudit: {
    readonly effect: string;
    readonly entry: number;
    readonly signedOutside: number | null;
  } | null;
}
const status = async (): Promise<Status> => (await daemon.request('GET', '/v1/status')).json as Status;

/** `agentkey audit verify` on the daemon’s directory: what it finds, by name. */
async function verify(): Promise<{ readonly isSound: boolean; readonly codes: readonly string[] }> {
  const from = ['--directory', daemon.stateDirectory, '--key', join(daemon.dir, 'audit-key.json')];
  const args = [programFile('cli'), '--json', 'audit', 'verify', ...from];
  const { stdout } = await run(process.execPath, args).catch(
    (thrown: unknown) => thrown as { stdout: string },
  );
  const { isSound, findings } = JSON.parse(stdout) as { isSound: boolean; findings: { code: string }[] };
  return { isSound, codes: findings.map(({ code }) => code) };
}

async function exported(): Promise<string> {
  const { json } = await daemon.admin('POST', '/v1/agents/a/export-tss2', {});
  return (json as { pem: string }).pem;
}

async function outside(pem?: string): Promise<void> {
  const file = pem ?? (await exported());
  const state = new DatabaseSync(join(daemon.stateDirectory, 'state.db'), { readOnly: true });
  try {
    const [record] = state
      .prepare("SELECT key_id AS keyId, purpose, epoch, salt FROM key_blobs WHERE purpose = 'agent'")
      .all();
    if (record === undefined) throw new Error('there is no key');
    const secret = readFileSync(join(daemon.dir, 'secret'));
    const context = record as unknown as Parameters<AuthDeriver['keyAuth']>[0];
    await signOutside(tpm, file, new AuthDeriver(secret).keyAuth(context));
  } finally {
    state.close();
  }
}

it('finds nothing where the daemon alone signed, and goes on across its restarts', async () => {
  expect(await status()).toMatchObject({
    state: 'ready',
    commandAudit: { effect: 'began', signedOutside: null },
  });
  await sign();
  await Promise.all(Array.from({ length: 20 }, sign));
  await daemon.stop();
  expect(await verify()).toEqual({ isSound: true, codes: [] });
  await daemon.start();
  expect(await status()).toMatchObject({
    state: 'ready',
    commandAudit: { effect: 'match', signedOutside: null },
  });
  await sign();
});

it('a TPM reset is inconclusive, and no accusation', async () => {
  await daemon.stop();
  await tpm.restart();
  await daemon.start();
  expect(await status()).toMatchObject({
    state: 'ready',
    commandAudit: { effect: 'inconclusive', reason: 'reset', signedOutside: null },
  });
  await sign();
  await daemon.stop();
  expect(await verify()).toEqual({ isSound: true, codes: ['command_audit_inconclusive'] });
  await daemon.start();
});

it('a signature made by the key outside the daemon, while it runs, is found and named', async () => {
  await sign();
  await outside();
  await sign();
  await daemon.stop();
  expect(daemon.log()).toContain('the TPM signed something that this daemon did not send to it');
  expect(await verify()).toEqual({
    isSound: false,
    codes: ['command_audit_inconclusive', 'signed_outside_daemon'],
  });
});

it('and so is one made while it is stopped: status says where', async () => {
  await daemon.start();
  expect(await status()).toMatchObject({ state: 'ready', commandAudit: { effect: 'match' } });
  const pem = await exported();
  await daemon.stop();
  await outside(pem);
  await daemon.start();
  const { commandAudit, state } = await status();
  expect(state).toBe('degraded');
  expect(commandAudit).toMatchObject({ effect: 'foreign', signedOutside: commandAudit?.entry });
});

/** TPM_CAP_AUDIT_COMMANDS: a TPML_CC. */
async function audited(): Promise<readonly number[]> {
  const esys = await EsysConnection.open(tpm.tcti);
  try {
    const { capabilityData } = await esys.getCapability({ capability: 4, property: 0, count: 64 });
    const count = capabilityData.readUInt32BE(4);
    return Array.from({ length: count }, (_, index) => capabilityData.readUInt32BE(8 + 4 * index));
  } finally {
    await esys.close();
  }
}

it('off, nothing is asked of the TPM; on again, what was signed meanwhile is no accusation', async () => {
  const configured = async (isOn: boolean): Promise<void> => {
    await daemon.stop();
    const text = readFileSync(daemon.configFile, 'utf8');
    writeFileSync(daemon.configFile, text.replace(/command_audit = \w+/, `command_audit = ${isOn}`));
    await daemon.start();
  };
  await configured(false);
  expect((await tpm2Tool(tpm, ['tpm2_setcommandauditstatus', '--clear-list', 'TPM2_CC_Sign'])).ok).toBe(true);
  await sign();
  expect((await status()).commandAudit).toBeNull();
  expect(await audited()).not.toContain(TPM_CC.Sign);
  await configured(true);
  expect(await audited()).toContain(TPM_CC.Sign);
  await configured(false);
  await sign();
  await configured(true);
  expect(await status()).toMatchObject({ state: 'ready', commandAudit: { effect: 'began' } });
});
