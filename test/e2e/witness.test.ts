/** The issuer as witness of a real daemon's logs: with a counter beside it, and where it is all there is (S8). */
import { chmodSync, cpSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acceptRollback } from '../../src/issuer/commands/hosts.ts';
import { openIssuerStore } from '../../src/issuer/store/issuer-store.ts';
import type { SeenWitness } from '../../src/issuer/store/witness-store.ts';
import { startGrantedHost, until, type GrantedHost } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';

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
  readonly host: { readonly ekSha256: string; readonly lastFault: string | null };
  readonly ledger: { readonly epoch: string; readonly fault: string | null; readonly counter: unknown };
}

let host: GrantedHost;

const pay = (): Promise<SocketAnswer> =>
  host.daemon.request('POST', '/v1/agents/spender/sign/http-message', {
    profile: 'rfc9421',
    method: 'POST',
    targetUri: 'https://bank.example/pay',
    headers: [['content-type', 'application/json']],
    body: Buffer.from('{"amount":0.01}').toString('base64url'),
  });
const code = ({ status, json }: SocketAnswer): string =>
  status < 300 ? 'done' : ((json as { code?: string }).code ?? String(status));
const answers = (wanted: string): Promise<SocketAnswer> => until(pay, (answer) => code(answer) === wanted);
const status = async (): Promise<Status> => (await host.daemon.request('GET', '/v1/status')).json as Status;
const renew = (): Promise<SocketAnswer> => host.daemon.request('POST', '/v1/agents/spender/credentials', {});

async function witness(): Promise<SeenWitness | undefined> {
  const store = openIssuerStore(host.issuer.config.stateDirectory);
  try {
    return await store.witnesses.byEk((await status()).host.ekSha256);
  } finally {
    store.close();
  }
}

/** Stops the daemon, and puts the copy in place of its state; with an issuer that had seen more since. */
async function goBack(): Promise<void> {
  const { dir, stateDirectory } = host.daemon;
  const copy = join(dir, 'copy');
  await host.daemon.kill9();
  cpSync(stateDirectory, copy, { recursive: true });
  chmodSync(copy, 0o700);
  await host.daemon.start();
  await answers('done');
  await until(renew, ({ status: answered }) => answered === 200);
  await host.daemon.kill9();
  renameSync(stateDirectory, join(dir, `later-${Date.now()}`));
  renameSync(copy, stateDirectory);
  await host.daemon.start();
}

describe('with a counter', () => {
  beforeAll(async () => {
    host = await startGrantedHost({ grant: GRANT, policies: { 'pay.cedar': PAY } });
    await host.agent('spender');
  }, 120_000);
  afterAll(() => host.remove());

  it('the issuer sees counter and log with every issuance, and both go on', async () => {
    const before = await witness();
    expect(before).toMatchObject({ isCounted: true });
    await answers('done');
    expect((await renew()).status).toBe(200);
    const after = await witness();
    expect(BigInt(after?.epoch ?? 0)).toBeGreaterThan(BigInt(before?.epoch ?? 0));
    expect(after?.auditSize).toBeGreaterThan(before?.auditSize ?? Infinity);
    expect(after?.epoch).toBe((await status()).ledger.epoch);
    expect(host.issuer.log.some((line) => /"checks":\[[^\]]*26/.test(line))).toBe(true);
  });

  it('S8: a state that was put back gets no credentials', async () => {
    await goBack();
    await answers('ledger_rolled_back');
    expect(code(await renew())).toBe('ledger_rolled_back');
    expect((await status()).rollback).toBe('unprotected');
  });
});

describe('without a counter', () => {
  beforeAll(async () => {
    host = await startGrantedHost({
      grant: GRANT,
      policies: { 'pay.cedar': PAY },
      config: { ledger: { counter: 'none' } },
    });
    await host.agent('spender');
  }, 120_000);
  afterAll(() => host.remove());

  it('status says that there is a witness, and no counter', async () => {
    expect(await status()).toMatchObject({ rollback: 'witnessed', ledger: { counter: null } });
    expect(await witness()).toMatchObject({ isCounted: false });
    await answers('done');
  });

  it('S8: a state that was put back learns it from the issuer, and fails closed until both operators accept it', async () => {
    await goBack();
    await answers('ledger_rolled_back');
    expect(await status()).toMatchObject({ rollback: 'unprotected' });
    expect((await status()).ledger.fault).toContain('the issuer has seen');
    expect(code(await renew())).toBe('ledger_rolled_back');

    // The host's word alone does not make the issuer forget.
    expect((await host.daemon.admin('POST', '/v1/ledger/accept-rollback', {})).status).toBe(200);
    await until(renew, (answer) => code(answer) === 'ledger_rolled_back');
    await answers('ledger_rolled_back');

    await acceptRollback(host.issuer.config, 'node-1', { line: () => undefined });
    expect((await host.daemon.admin('POST', '/v1/ledger/accept-rollback', {})).status).toBe(200);
    await until(renew, ({ status: answered }) => answered === 200);
    await answers('done');
    expect((await status()).rollback).toBe('witnessed');
  });
});
