/** The TPM's counter under a real daemon's ledger and audit log: S8 and S16 from outside. */
import { chmodSync, cpSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from '../../src/wire/check.ts';
import { anchorBound, anchoredHeads, ownAnchorData } from '../../src/wire/audit-anchor.ts';
import { parseAuditEntry, type AuditEntry } from '../../src/wire/audit-entry.ts';
import { parseAttest } from '../../src/wire/tpm/attest.ts';
import { counterValue } from '../../src/wire/tpm/audit-counter.ts';
import { startGrantedHost, until, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';
import { tpm2Tool, tpm2Tools } from '../support/tpm2-tools.ts';

const INDEX = '0x180a6e7';
const PAY = `
@id("pay")
@meter("USD.2 body:/amount")
permit (principal, action == Action::"http-message", resource in Agent::"spender")
when {
  principal.uid == resource.ownerUid && context.path == "/pay" && ["/amount"].containsAll(context.body.members)
};
`;
const GRANT = {
  scopes: ['*'],
  audiences: ['*'],
  constraints: [{ key: 'spend.USD.2', max_subtree: 400 }],
  max_depth: 4,
  lifetime_seconds: 3600,
};

interface Status {
  readonly rollback: string;
  readonly state: string;
  readonly ledger: {
    readonly epoch: string;
    readonly fault: string | null;
    readonly counter: {
      readonly index: string;
      readonly value: string;
      readonly writesPerYear: number;
    } | null;
  };
}

let host: GrantedHost;

const pay = (amount = '0.01'): Promise<SocketAnswer> =>
  host.daemon.request('POST', '/v1/agents/spender/sign/http-message', {
    profile: 'rfc9421',
    method: 'POST',
    targetUri: 'https://bank.example/pay',
    headers: [['content-type', 'application/json']],
    body: Buffer.from(`{"amount":${amount}}`).toString('base64url'),
  });
const code = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'done' : ((json as { code?: string }).code ?? String(status));
const status = async (): Promise<Status> => (await host.daemon.request('GET', '/v1/status')).json as Status;
const counter = async (): Promise<bigint> => {
  const { text } = await tpm2Tool(host.tpm, [
    'tpm2_nvread',
    '-C',
    'o',
    INDEX,
    '-s',
    '8',
    '-o',
    'counter.bin',
  ]);
  expect(text).toBe('');
  const shown = await tpm2Tool(host.tpm, ['xxd', '-p', 'counter.bin']);
  return BigInt(`0x${shown.text.trim()}`);
};
const spent = async (): Promise<{ spent: number; lease: number }> => {
  const { json } = await host.daemon.request('GET', '/v1/agents/spender/budget');
  const [first] = (json as { budgets: readonly { spent: string; lease: string }[] }).budgets;
  return { spent: Number(first?.spent), lease: Number(first?.lease) };
};
const payable = (): Promise<SocketAnswer> =>
  until(
    () => pay(),
    (answer) => code(answer) === 'done',
  );

async function anchors(): Promise<readonly Extract<AuditEntry, { kind: 'anchor' }>[]> {
  const { json } = await host.daemon.admin('GET', '/v1/audit/entries?from=0&limit=1000');
  const { entries } = json as { entries: readonly string[] };
  const found: readonly AuditEntry[] = entries.map((entry) => parseAuditEntry(Buffer.from(entry)));
  return found.filter((entry) => entry.kind === 'anchor');
}

beforeAll(async () => {
  host = await startGrantedHost({ grant: GRANT, policies: { 'pay.cedar': PAY } });
  await host.agent('spender');
}, 120_000);
afterAll(() => host.remove());

describe('S8, S16: the daemon’s counter', () => {
  it('is told in status, with what it will wear in a year', async () => {
    const told = await status();
    expect(told).toMatchObject({
      rollback: 'tpm',
      ledger: { fault: null, counter: { index: '0x0180a6e7' } },
    });
    expect(BigInt(told.ledger.counter?.value ?? '')).toBe(await counter());
    expect(told.ledger.counter?.writesPerYear).toBeGreaterThanOrEqual(0);
  });

  it('moves with epochs only, and every value of it is an anchor in the audit log', async () => {
    const before = await counter();
    await payable();
    const moved = await counter();
    expect(moved).toBeGreaterThan(before);
    // A lease covers what follows; asking for things moves nothing.
    for (let i = 0; i < 3; i += 1) expect(code(await pay())).toBe('done');
    for (const path of ['/v1/status', '/v1/audit/checkpoint', '/v1/agents/spender/budget'])
      expect((await host.daemon.request('GET', path)).status).toBe(200);
    expect(await counter()).toBe(moved);
    expect((await status()).ledger.epoch).toBe(String(moved));

    const all = await anchors();
    expect(all.at(-1)?.value).toBe(String(moved));
    for (const { value, attest, head } of all) {
      const bound = Buffer.from(head, 'base64url');
      const heads = parse(anchoredHeads, JSON.parse(bound.toString()));
      expect(Buffer.from(anchorBound(heads))).toEqual(bound);
      expect(heads.epoch).toBe(value);
      const statement = parseAttest(Buffer.from(attest, 'base64url'));
      if (statement.type !== 'nv') throw new Error(statement.type);
      expect(counterValue(statement.nvContents)).toBe(BigInt(value));
      expect(Buffer.from(statement.extraData)).toEqual(Buffer.from(ownAnchorData(bound)));
    }
  });

  it('budget tells what a crash may cost, and a crash costs no more', async () => {
    const before = await spent();
    expect(before.lease).toBeGreaterThan(0);
    await host.daemon.kill9();
    await host.daemon.start();
    const after = await spent();
    expect(after.spent - before.spent).toBeLessThanOrEqual(before.lease);
    expect((await status()).ledger.fault).toBeNull();
    await payable();
  });

  it('a clean end costs nothing', async () => {
    await payable();
    const before = await spent();
    expect(await host.daemon.stop()).toBe(0);
    await host.daemon.start();
    expect((await spent()).spent).toBe(before.spent);
    await payable();
  });

  it('S8: a copy of the whole state directory, put back later, signs nothing that costs something', async () => {
    const { stateDirectory } = host.daemon;
    const [copy, now] = [join(host.daemon.dir, 'copy'), join(host.daemon.dir, 'now')];
    await host.daemon.kill9();
    cpSync(stateDirectory, copy, { recursive: true });
    chmodSync(copy, 0o700);
    await host.daemon.start();
    await payable();
    await host.daemon.kill9();
    renameSync(stateDirectory, now);
    renameSync(copy, stateDirectory);
    await host.daemon.start();
    expect(code(await pay())).toBe('ledger_rolled_back');
    expect(await status()).toMatchObject({ rollback: 'unprotected', state: 'degraded' });
    expect((await status()).ledger.fault).toContain('ledger_rolled_back');
    await host.daemon.kill9();
    rmSync(stateDirectory, { recursive: true });
    renameSync(now, stateDirectory);
    await host.daemon.start();
    await payable();
  });

  it('once removed, nothing that costs something is signed until an operator accepts it, on record', async () => {
    await tpm2Tools(host.tpm, [['tpm2_nvundefine', '-C', 'o', INDEX]]);
    await host.daemon.kill9();
    await host.daemon.start();
    expect(code(await pay())).toBe('tpm_counter_gone');
    expect((await host.daemon.request('POST', '/v1/ledger/accept-rollback', {})).status).toBe(404);
    const accepted = await host.daemon.admin('POST', '/v1/ledger/accept-rollback', {});
    expect(accepted.status).toBe(200);
    expect(accepted.json).toEqual({ epoch: String(await counter()) });
    await payable();
    expect((await status()).rollback).toBe('tpm');
    const { json } = await host.daemon.admin('GET', '/v1/audit/entries?from=0&limit=1000');
    const events = (json as { entries: readonly string[] }).entries.filter((entry) =>
      entry.includes('rollback-accepted'),
    );
    expect(events).toHaveLength(1);
    expect(events[0]).toContain('tpm_counter_gone');
    expect(code(await host.daemon.admin('POST', '/v1/ledger/accept-rollback', {}))).toBe('conflict');
  });

  it('TPM2_Clear takes it along: the TPM is adopted, the rollback accepted, and the host enrols again', async () => {
    const before = await counter();
    await tpm2Tools(host.tpm, [['tpm2_clear', '-c', 'p']]);
    expect((await host.daemon.admin('POST', '/v1/host/adopt-tpm', {})).status).toBe(200);
    expect(code(await host.daemon.admin('POST', '/v1/host/enroll', {}))).toBe('tpm_counter_gone');
    expect((await status()).ledger.fault).toContain('tpm_counter_gone');
    expect((await host.daemon.admin('POST', '/v1/ledger/accept-rollback', {})).status).toBe(200);
    // The issuer has nothing to accept: a new counter begins above every value that any had.
    expect(await counter()).toBeGreaterThan(before);
    expect((await host.daemon.admin('POST', '/v1/host/enroll', {})).status).toBe(200);
    const { rollback, ledger } = await status();
    expect({ rollback, fault: ledger.fault }).toEqual({ rollback: 'tpm', fault: null });
  });
});
