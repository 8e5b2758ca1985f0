/** S16: the TPM's own account of its signatures, over a real TPM: what is found, and what is no accusation. */
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../../src/audit/audit-log.ts';
import { openAuditLog } from '../../../src/audit/open-audit-log.ts';
import type { HardwareKey } from '../../../src/backend/backend.ts';
import { AuthDeriver } from '../../../src/backend/tpm/key-auth.ts';
import { tss2PrivateKeyToPem } from '../../../src/backend/tpm/tss2-private-key.ts';
import type { TpmBackend, TpmBackendOptions } from '../../../src/backend/tpm/tpm-backend.ts';
import { FairQueue } from '../../../src/base/fair-queue.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { Anchoring } from '../../../src/daemon/anchoring.ts';
import { CommandAuditing } from '../../../src/daemon/command-auditing.ts';
import { openLedger } from '../../../src/ledger/ledger.ts';
import { verifyAuditExport, type AuditReport } from '../../../src/verify/index.ts';
import { parseAuditEntry, type AuditRecord } from '../../../src/wire/audit-entry.ts';
import { publicAreaName } from '../../../src/wire/tpm/name.ts';
import { makeAuditKey } from '../../support/audit-keys.ts';
import { codeOfAsync } from '../../support/code-of.ts';
import { SIGNING, signOutside, signWithAnotherKey } from '../../support/outside-signature.ts';
import { startSwtpm, type TestSwtpm } from '../../support/swtpm.ts';
import { makeTempDir } from '../../support/temp-dir.ts';
import { TpmHost } from '../../support/tpm-backend.ts';
import { flushTransient, tpm2Tool, tpm2Tools } from '../../support/tpm2-tools.ts';

const QUEUE = {
  name: 'the TPM',
  concurrency: 4,
  maxWaitingPerShare: 16,
  maxWaiting: 64,
  reservedWaiting: 16,
  expectedServiceMs: 5,
} as const;

/** The digest was taken for the first time, and a key was made since, which is proven by a signature. */
const MADE = ['began 0', 'match 1'];

type Entry = Extract<AuditRecord, { readonly kind: 'command-audit' }>;

/** An entry as it may be appended elsewhere. */
function unplaced<E extends AuditRecord>(entry: E): E {
  const record: E & { index?: number; previous?: string } = { ...entry };
  delete record.index;
  delete record.previous;
  return record;
}

describe('TPM command audit', { timeout: 120_000 }, () => {
  let tpm: TestSwtpm;
  let host: TpmHost;
  let temp: { readonly path: string; remove(): Promise<void> };
  let backend: TpmBackend;
  let log: AuditLog;
  let auditing: CommandAuditing;
  let key: HardwareKey;
  const signer = makeAuditKey();

  beforeEach(async () => {
    tpm = await startSwtpm();
    host = new TpmHost(tpm.tcti);
    temp = await makeTempDir();
    log = await openAuditLog({ directory: temp.path, signer: () => Promise.resolve(signer) });
    await start();
    // One signature that proves the key.
    key = await backend.generate({ keyId: randomUUID(), purpose: 'agent', algorithm: 'ES256' });
    await auditing.check(true);
  });
  afterEach(async () => {
    await backend.close();
    await log.close();
    await temp.remove();
    await tpm.stop();
  });

  /** What a daemon does that starts on this host's state; late, where something was signed before the TPM was asked. */
  async function start(
    options: Partial<TpmBackendOptions> & { isShared?: boolean; isLate?: true } = {},
  ): Promise<void> {
    const { isShared = false, isLate, ...others } = options;
    backend = await host.open({ commandAudit: { memory: host.commandAuditMemory, isShared }, ...others });
    const { commandAudit } = backend;
    if (commandAudit === undefined) throw new Error('command audit is off');
    auditing = new CommandAuditing({ backend, queue: new FairQueue(QUEUE) }, commandAudit, log, silentLogger);
    if (isLate === true) await sign(1);
    await auditing.check(true);
  }

  /** What a daemon does that ends in an orderly way. */
  async function stop(): Promise<void> {
    await auditing.check(true);
    await sign(2);
    await auditing.end();
    await backend.close();
  }

  const sign = (times: number): Promise<readonly Uint8Array[]> =>
    Promise.all(
      Array.from({ length: times }, () =>
        backend.sign(key.keyId, { kind: 'message', octets: randomBytes(32) }),
      ),
    );

  async function outside(): Promise<void> {
    const record = host.store.records.get(key.keyId);
    if (record === undefined) throw new Error('the key was not stored');
    const auth = new AuthDeriver(host.secret).keyAuth(record);
    await signOutside(tpm, tss2PrivateKeyToPem(record.blob), auth);
  }

  const entries = (): readonly Entry[] =>
    log
      .entries(0, log.size)
      .map(parseAuditEntry)
      .filter((entry) => entry.kind === 'command-audit');
  const said = (): readonly string[] =>
    entries().map(({ effect, reason, signed }) =>
      [effect, reason, signed].filter((part) => part !== undefined).join(' '),
    );

  async function verified(akIds?: readonly string[]): Promise<AuditReport> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of log.export()) chunks.push(chunk);
    return verifyAuditExport(chunks, { keys: [signer.publicJwk], ...(akIds === undefined ? {} : { akIds }) });
  }
  const found = async (): Promise<readonly string[]> => (await verified()).findings.map(({ code }) => code);

  it('finds nothing where this daemon alone signed, however many signatures are under way at once', async () => {
    await sign(100);
    await expect(
      codeOfAsync(() => backend.sign(key.keyId, { kind: 'digest', octets: randomBytes(31) })),
    ).resolves.toBe('malformed_request');
    await auditing.check(true);
    await auditing.check(true);
    await sign(1);
    await auditing.check(true);
    expect(said()).toEqual([...MADE, 'match 100', 'match 0', 'match 1']);
    expect(await verified()).toMatchObject({ isSound: true, findings: [] });
    expect(auditing.facts).toMatchObject({ effect: 'match', foreignIndex: undefined });
  });

  it.each(['salted', 'password'] as const)(
    'counts what is signed by %s sessions',
    async (sessionProtection) => {
      await stop();
      await start({ sessionProtection });
      await sign(9);
      await auditing.check(true);
      expect(said().slice(-1)).toEqual(['match 9']);
    },
  );

  it('leaves an idle host alone: no entry, and the digest stays where it is', async () => {
    await sign(3);
    await auditing.check(false);
    await auditing.check(false);
    expect(said()).toEqual(MADE);
    await auditing.check(true);
    expect(said()).toEqual([...MADE, 'match 3']);
  });

  it('S16: a signature made by the key outside the daemon is found and named, also on an idle host', async () => {
    await sign(5);
    await auditing.check(true);
    await outside();
    await auditing.check(false);
    expect(said()).toEqual([...MADE, 'match 5', 'foreign 0']);
    const report = await verified();
    expect(report.isSound).toBe(false);
    expect(report.findings).toMatchObject([{ code: 'signed_outside_daemon', from: log.size - 2 }]);
    expect(auditing.facts?.foreignIndex).toBe(log.size - 2);
    // It is told once, of the time in which it was.
    await sign(1);
    await auditing.check(true);
    expect(said().slice(-1)).toEqual(['match 1']);
    expect(auditing.facts?.foreignIndex).toBe(log.size - 3);
  });

  it('S16: with the next checkpoint, which signs for it, though nothing else had happened', async () => {
    const ledger = await openLedger({ directory: join(temp.path, 'ledger'), counter: undefined });
    const anchoring = new Anchoring({
      audit: log,
      ledger,
      counter: undefined,
      commandAudit: auditing,
      log: silentLogger,
    });
    await anchoring.tick();
    await anchoring.tick();
    const { size } = log;
    await outside();
    await anchoring.tick();
    expect(said().slice(-2)).toEqual(['match 0', 'foreign 0']);
    expect(log.latest?.head.size).toBe(size + 1);
    await anchoring.tick();
    expect(log.size).toBe(size + 2);
    await ledger.end();
  });

  it('S16: so is one between signatures of the daemon', async () => {
    await sign(2);
    await outside();
    await sign(2);
    await auditing.check(true);
    expect(said()).toEqual([...MADE, 'foreign 4']);
    expect(await found()).toEqual(['signed_outside_daemon']);
  });

  it('S16: and one while the daemon was stopped', async () => {
    await stop();
    await outside();
    await start();
    expect(said()).toEqual([...MADE, 'match 0', 'foreign 2']);
    expect(await found()).toEqual(['signed_outside_daemon']);
  });

  it('goes on across an orderly stop, and says after a crash that nothing is known', async () => {
    await stop();
    await start();
    expect(said()).toEqual([...MADE, 'match 0', 'match 2']);
    await stop();
    await start({ isLate: true });
    expect(said().slice(-2)).toEqual(['match 0', 'match 3']);
    await sign(1);
    await backend.close();
    await start();
    expect(said().slice(-1)).toEqual(['began 0']);
    expect(await found()).toEqual(['command_audit_inconclusive']);
    expect((await verified()).isSound).toBe(true);
  });

  it('S16: a TPM reset is inconclusive, no accusation', async () => {
    await sign(2);
    await tpm.restart();
    await sign(1);
    await auditing.check(true);
    expect(said()[2]).toMatch(/^inconclusive (reset|lost) /);
    expect(await verified()).toMatchObject({ isSound: true });
    expect(await found()).toEqual(['command_audit_inconclusive']);
    await sign(1);
    await auditing.check(true);
    expect(said()[3]).toBe('match 1');
  });

  it('S16: where other programs sign with this TPM, by the operator’s word, it is inconclusive', async () => {
    await stop();
    await start({ isShared: true });
    await signWithAnotherKey(tpm);
    await auditing.check(false);
    expect(said().slice(-1)).toEqual(['inconclusive shared 0']);
    expect(await found()).toEqual(['command_audit_inconclusive']);
  });

  it('is inconclusive where somebody else had the digest signed, which empties it', async () => {
    await sign(1);
    await flushTransient(tpm);
    await tpm2Tools(tpm, [
      ['tpm2_createprimary', '-Q', '-C', 'e', '-G', 'ecc:ecdsa', '-a', SIGNING, '-c', 'other.ctx'],
      ['tpm2_getcommandauditdigest', '-c', 'other.ctx', '-g', 'sha256', '-s', 'z', '-m', 'z0'],
    ]);
    await auditing.check(false);
    expect(said()).toEqual([...MADE, 'inconclusive taken 1']);
    expect(await found()).toEqual(['command_audit_inconclusive']);
  });

  it('is inconclusive where what is audited was changed, and is switched on again', async () => {
    expect((await tpm2Tool(tpm, ['tpm2_setcommandauditstatus', '--clear-list', 'TPM2_CC_Sign'])).ok).toBe(
      true,
    );
    await auditing.check(false);
    await auditing.check(true);
    await sign(1);
    await auditing.check(true);
    expect(said()).toEqual([...MADE, 'inconclusive settings 0', 'began 0', 'match 1']);
  });

  it('S16: where another program has the TPM audit more, an idle host says so once', async () => {
    expect((await tpm2Tool(tpm, ['tpm2_setcommandauditstatus', 'TPM2_CC_GetRandom'])).ok).toBe(true);
    await auditing.check(false);
    await auditing.check(false);
    expect(said()).toEqual([...MADE, 'inconclusive settings 0']);
    await auditing.check(true);
    await auditing.check(false);
    expect(said()).toEqual([...MADE, 'inconclusive settings 0', 'inconclusive settings 0']);
    expect((await verified()).isSound).toBe(true);
  });

  it('holds what an entry says against what the TPM signed', async () => {
    await sign(1);
    await auditing.check(true);
    const [began, , match] = entries();
    if (began === undefined || match === undefined) throw new Error('there is no entry');
    const akId = Buffer.from(publicAreaName(Buffer.from(match.ak, 'base64url'))).toString('hex');
    expect(await verified([akId])).toMatchObject({ isSound: true, findings: [] });
    const other = await verified([`000b${'00'.repeat(32)}`]);
    expect(other.findings.map(({ code }) => code)).toEqual(entries().map(() => 'command_audit_invalid'));

    const { attest, signature, expected } = began;
    for (const change of [
      { expected },
      { signed: 2 },
      { attest },
      { signature },
      { auditSize: 0 },
      { ak: 'AAAA' },
    ]) {
      log.append(unplaced({ ...match, ...change }));
      const report = await verified();
      expect(report.findings.at(-1)).toMatchObject({ code: 'command_audit_invalid', severity: 'fault' });
    }
  });

  it('says what the TPM says, whatever the daemon wrote', async () => {
    await outside();
    await auditing.check(false);
    const foreign = entries().at(-1);
    if (foreign?.effect !== 'foreign') throw new Error('nothing was found');
    const copy = await makeTempDir();
    const lying = await openAuditLog({ directory: copy.path, signer: () => Promise.resolve(signer) });
    try {
      for (const record of log.entries(0, log.size).map(parseAuditEntry).map(unplaced)) {
        lying.append(
          record.kind === 'command-audit' && record.effect === 'foreign'
            ? { ...record, effect: 'match' }
            : record,
        );
      }
      const chunks: Uint8Array[] = [];
      for await (const chunk of lying.export()) chunks.push(chunk);
      const { findings } = await verifyAuditExport(chunks, { keys: [signer.publicJwk] });
      // The other log has an entry more at its beginning: it is not the one that the TPM signed for.
      const codes = new Set(findings.map(({ code }) => code));
      expect(codes).toEqual(new Set(['signed_outside_daemon', 'command_audit_invalid']));
    } finally {
      await lying.close();
      await copy.remove();
    }
  });
});
