/** The log of a real daemon: what is done to it is found and named, and nothing secret ever stands in it. */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JournalReader } from '../../src/base/journal-reader.ts';
import { frameRecord } from '../../src/base/journal-segment.ts';
import { verifyDirectory } from '../../src/cli/audit-files.ts';
import { parseAuditEntry, type AuditEntry } from '../../src/wire/audit-entry.ts';
import { parsePublicJwk, type PublicJwk } from '../../src/wire/jwk.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { startSwtpm, type TestSwtpm } from '../support/swtpm.ts';

let tpm: TestSwtpm;
let daemon: TestDaemon;
let key: PublicJwk;
/** Checkpoint that somebody keeps elsewhere. */
let kept: string;
const log = (): string => join(daemon.stateDirectory, 'audit');
const yesterday = (): string => join(daemon.dir, 'yesterday');
const today = (): string => join(daemon.dir, 'today');

/** What no octet of the log may be. */
const SECRETS = [
  'hush-query',
  'hush-body',
  'hush-header',
  'hush-cookie',
  'hush-claim',
  'hush-bearer',
  'hush-message',
  'hush-idempotency',
  'hush-nonce',
  'hush-malformed',
] as const;
/** What the daemon gave out: signatures and tokens. */
const released: string[] = [];

const base64url = (text: string): string => Buffer.from(text).toString('base64url');

async function sign(operation: string, body: unknown, headers: Record<string, string> = {}): Promise<number> {
  const path = `/v1/agents/audited/sign/${operation}`;
  const { status, json } = await daemon.request('POST', path, body, { headers });
  const strings = (value: unknown): readonly string[] =>
    typeof value === 'string' ? [value] : Object.values(value ?? {}).flatMap(strings);
  if (status === 200) released.push(...strings(json).filter((text) => text.length > 40));
  return status;
}

const message = (path: string): object => ({
  profile: 'rfc9421',
  method: 'POST',
  targetUri: `https://bank.example${path}?token=hush-query`,
  headers: [
    ['content-type', 'application/json'],
    ['x-api-key', 'hush-header'],
    ['cookie', 'session=hush-cookie'],
  ],
  body: base64url('{"secret":"hush-body"}'),
});

async function everyEndpoint(): Promise<void> {
  expect((await daemon.request('POST', '/v1/agents', { name: 'audited', backend: 'tpm' })).status).toBe(201);
  expect(await sign('http-message', message('/pay'), { 'idempotency-key': 'hush-idempotency' })).toBe(200);
  expect(
    await sign('dpop', {
      htm: 'POST',
      htu: 'https://bank.example/pay',
      accessToken: 'hush-bearer',
      nonce: 'hush-nonce',
    }),
  ).toBe(200);
  expect(
    await sign('jwt', { typ: 'note+jwt', claims: { aud: 'https://bank.example', pin: 'hush-claim' } }),
  ).toBe(200);
  expect(await sign('csr', {})).toBe(200);
  // Refused, and recorded as such.
  expect(await sign('raw', { message: base64url('hush-message') })).toBe(403);
  expect(await sign('jwt', { typ: 'dpop+jwt', claims: { pin: 'hush-claim' } })).toBe(403);
  expect(await sign('jwt', { typ: 'note+jwt', claims: 'hush-malformed' })).toBe(400);
  await daemon.request('POST', '/v1/agents/audited/delegations', {
    name: 'child',
    scopes: ['hush-malformed'],
  });
  await daemon.request('POST', '/v1/attestation/quote', {
    nonce: base64url('hush-nonce-of-sixteen'),
    aud: 'https://v.example',
  });
  for (const path of ['credentials', 'budget', 'chain'])
    await daemon.request('GET', `/v1/agents/audited/${path}`);
  for (const path of ['/v1/agents', '/v1/agents/audited', '/v1/status', '/healthz', '/readyz'])
    await daemon.request('GET', path);
  for (const path of [
    '/v1/audit/entries?from=0&limit=10',
    '/v1/audit/proof?index=1',
    '/metrics',
    '/v1/approvals',
  ])
    await daemon.admin('GET', path);
  await daemon.request('POST', '/v1/agents/audited/rotate', {});
}

async function checkpoint(): Promise<string> {
  const { json } = await daemon.admin('GET', '/v1/audit/checkpoint');
  const { checkpoint: note, publicJwk } = json as { checkpoint: string; publicJwk: unknown };
  key = parsePublicJwk(publicJwk);
  return note;
}

beforeAll(async () => {
  tpm = await startSwtpm();
  daemon = await startDaemon({ tpm });
  await everyEndpoint();
  await checkpoint();
  cpSync(log(), yesterday(), { recursive: true });
  expect(await sign('http-message', message('/pay/again'))).toBe(200);
  kept = await checkpoint();
  await daemon.stop();
  cpSync(log(), today(), { recursive: true });
}, 120_000);
afterAll(async () => {
  await daemon.remove();
  await tpm.stop();
});

const records = (directory: string): readonly Uint8Array[] =>
  new JournalReader(directory, 'audit').read(0, Infinity);
const entries = (): readonly AuditEntry[] => records(today()).map(parseAuditEntry);

/** The log of today with other records. */
function put(other: readonly Uint8Array[]): void {
  rmSync(log(), { recursive: true });
  cpSync(today(), log(), { recursive: true });
  const [file = ''] = readdirSync(log()).filter((name) => name.endsWith('.log'));
  writeFileSync(join(log(), file), Buffer.concat(other.map(frameRecord)));
}

function found(checkpoints: readonly string[] = []): readonly string[] {
  const { findings, isSound } = verifyDirectory(log(), { keys: [key], checkpoints }, () => undefined);
  const faults = findings.filter(({ severity }) => severity === 'fault').map(({ code }) => code);
  expect(isSound).toBe(faults.length === 0);
  return faults;
}

/** How the daemon takes it: it does not begin to serve. */
async function refusedByDaemon(): Promise<boolean> {
  try {
    await daemon.start();
  } catch {
    return daemon.log().includes('was changed from outside');
  }
  await daemon.stop();
  return false;
}

describe('what is done to the log is found and named', () => {
  const changed = (octets: Uint8Array): Uint8Array =>
    Buffer.from(Buffer.from(octets).toString().replace('"path":"/pay"', '"path":"/bay"'));
  const at = (): number =>
    entries().findIndex((entry) => entry.kind === 'decision' && entry.parameters['path'] === '/pay');

  it('nothing, where nothing was', () => {
    put(records(today()));
    expect(found([kept])).toEqual([]);
  });

  it('an entry changed', async () => {
    const all = records(today());
    put(all.with(at(), changed(all[at()] ?? new Uint8Array())));
    expect(found()).toEqual(['entry_changed']);
    expect(await refusedByDaemon()).toBe(true);
  });

  it('an entry removed', async () => {
    put(records(today()).toSpliced(at(), 1));
    expect(found()).toEqual(['entry_removed']);
    expect(await refusedByDaemon()).toBe(true);
  });

  it('entries reordered', async () => {
    const all = records(today());
    const [left = new Uint8Array(), right = new Uint8Array()] = all.slice(at());
    put(all.with(at(), right).with(at() + 1, left));
    expect(found()).toContain('entry_reordered');
    expect(await refusedByDaemon()).toBe(true);
  });

  it('an entry appended by hand', () => {
    const all = records(today());
    const last = all.at(-1) ?? new Uint8Array();
    put([...all, changed(all[at()] ?? last)]);
    expect(found()).toContain('entry_appended');
  });

  it('the tail cut after a checkpoint', async () => {
    put(records(today()).slice(0, -4));
    expect(found()).toEqual(['tail_cut']);
    expect(await refusedByDaemon()).toBe(true);
  });

  it('the whole directory restored from yesterday, against a checkpoint that was kept', () => {
    rmSync(log(), { recursive: true });
    cpSync(yesterday(), log(), { recursive: true });
    expect(found()).toEqual([]);
    expect(found([kept])).toEqual(['log_restored']);
  });

  it('yesterday restored, and written on by the daemon itself', async () => {
    await daemon.start();
    for (let i = 0; i < 6; i += 1) await sign('http-message', message('/after'));
    await daemon.stop();
    expect(found()).toEqual([]);
    expect(found([kept])).toEqual(['log_forked']);
  });
});

describe('an entry', () => {
  it('says who, for which agent, by which policies, and what came of it', () => {
    const all = entries();
    const decision = all.find((entry) => entry.kind === 'decision' && entry.parameters['path'] === '/pay');
    expect(decision).toMatchObject({
      kind: 'decision',
      effect: 'permit',
      action: 'http-message',
      agent: { name: 'audited' },
      caller: { ingress: 'shared', uid: process.getuid?.(), pid: process.pid },
      policies: [expect.any(String)],
      octetsSha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    const outcome = all.find((entry) => entry.kind === 'outcome' && entry.decision === decision?.index);
    expect(outcome).toMatchObject({ effect: 'done', signatureSha256: expect.any(String) as string });
    const refused = all.filter((entry) => entry.kind === 'decision' && entry.effect === 'deny');
    expect(refused.map((entry) => (entry.kind === 'decision' ? entry.action : ''))).toEqual(
      expect.arrayContaining(['raw', 'jwt']),
    );
  });

  it('holds no secret, token, body or signature, in any file of the log', () => {
    expect(released.length).toBeGreaterThan(4);
    for (const file of readdirSync(today())) {
      const octets = readFileSync(join(today(), file));
      for (const secret of [...SECRETS, ...released]) {
        for (const form of [
          secret,
          base64url(secret),
          Buffer.from(secret).toString('base64').replace(/=+$/, ''),
        ])
          expect(octets.includes(form), `${secret.slice(0, 24)} in ${file}`).toBe(false);
      }
    }
  });
});
