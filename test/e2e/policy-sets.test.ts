/** The policy set of a running daemon: read anew as a whole or not at all (S19), observed sets, intent, and rates. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { connect } from '../../src/client/index.ts';
import { parseAuditEntry, type AuditEntry } from '../../src/wire/audit-entry.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { until } from '../support/granted-host.ts';
import type { SocketAnswer } from '../support/http-over-socket.ts';
import { makeSofthsm, type TestSofthsm } from '../support/softhsm.ts';
import { makeTempDir, type TempDir } from '../support/temp-dir.ts';

const NO_DELETE = `@id("no-delete") forbid (principal, action == Action::"http-message", resource == Agent::"any")
when { context.method == "DELETE" };`;
const INTENT = `@id("stated") forbid (principal, action in Action::"sign", resource in Agent::"intent")
unless { context has intent && context.intent has purpose && context.intent.purpose == "invoice" };`;
/** Three signatures an hour; a new origin is greeted first. */
const RATES = `@id("three-an-hour") forbid (principal, action in Action::"sign", resource in Agent::"rated")
when { context.usage.lastHour >= 3 };
@id("greet-first") forbid (principal, action == Action::"http-message", resource in Agent::"greeter")
when { context.usage.firstUseOfOrigin && context.path != "/hello" };`;
const CANDIDATES = {
  'stricter/a.cedar': '@id("nothing") forbid (principal, action, resource);',
  'wider/a.cedar': '@id("everything") permit (principal, action, resource);',
};

let softhsm: TestSofthsm;
let temp: TempDir;
let daemon: TestDaemon;

const sign = (agent: string, request: object = {}, kind = 'http-message'): Promise<SocketAnswer> =>
  daemon.request(
    'POST',
    `/v1/agents/${agent}/sign/${kind}`,
    kind === 'http-message'
      ? { profile: 'rfc9421', method: 'GET', targetUri: 'https://api.example/', ...request }
      : request,
  );
const code = ({ status, json }: SocketAnswer): unknown =>
  status < 300 ? 'signed' : (json as { code?: unknown }).code;
const put = (name: string, text: string): Promise<void> =>
  writeFile(join(daemon.dir, 'policy.d', name), text, { mode: 0o644 });
const policy = async (): Promise<{ fingerprint: string; version: number }> => {
  const { json } = await daemon.admin('GET', '/v1/policy');
  const { fingerprint, version } = json as { fingerprint: string; version: number };
  return { fingerprint, version };
};

type DecisionOnRecord = Extract<AuditEntry, { kind: 'decision' }>;
async function onRecord(): Promise<readonly AuditEntry[]> {
  const { json } = await daemon.admin('GET', '/v1/audit/entries?from=0&limit=1000');
  return (json as { entries: readonly string[] }).entries.map((entry) =>
    parseAuditEntry(Buffer.from(entry, 'utf8')),
  );
}

/** The last decision about an agent of this name. */
async function lastDecision(agent: string): Promise<DecisionOnRecord | undefined> {
  return (await onRecord())
    .filter((entry): entry is DecisionOnRecord => entry.kind === 'decision')
    .findLast((entry) => entry.agent?.name === agent);
}

const AGENTS = ['any', 'intent', 'rated', 'greeter'];

beforeAll(async () => {
  softhsm = await makeSofthsm();
  temp = await makeTempDir();
  for (const [name, text] of Object.entries(CANDIDATES)) {
    await mkdir(join(temp.path, 'observe', name, '..'), { recursive: true });
    await writeFile(join(temp.path, 'observe', name), text, { mode: 0o644 });
  }
  const uid = process.getuid?.() ?? 0;
  daemon = await startDaemon({
    softhsm,
    policies: { 'no-delete.cedar': NO_DELETE, 'intent.cedar': INTENT, 'rates.cedar': RATES },
    config: {
      policy: {
        create: [{ uids: [uid], names: ['*'] }],
        roles: { operate: [{ uids: [uid] }], policy: [{ uids: [uid] }] },
        jwt_types: ['*'],
        observe_directory: join(temp.path, 'observe'),
      },
    },
  });
  for (const name of AGENTS) {
    const made = await daemon.request('POST', '/v1/agents', { name, backend: 'pkcs11' });
    expect(made.status).toBe(201);
  }
}, 60_000);
afterAll(async () => {
  await daemon.remove();
  await softhsm.remove();
  await temp.remove();
});

describe('S19: sets in observe mode', () => {
  it('are named, and change no decision: not a deny into an allow, not an allow into a deny', async () => {
    expect((await daemon.admin('GET', '/v1/policy')).json).toMatchObject({ observed: ['stricter', 'wider'] });
    expect(code(await sign('any'))).toBe('signed');
    expect(await lastDecision('any')).toMatchObject({
      effect: 'permit',
      policies: ['owner-signs'],
      observed: [
        { set: 'stricter', effect: 'deny', policies: ['nothing'] },
        { set: 'wider', effect: 'permit', policies: ['everything'] },
      ],
    });
    expect(code(await sign('any', { method: 'DELETE' }))).toBe('policy_denied');
    expect(await lastDecision('any')).toMatchObject({
      effect: 'deny',
      policies: ['no-delete'],
      observed: [
        { set: 'stricter', effect: 'deny' },
        { set: 'wider', effect: 'permit', policies: ['everything'] },
      ],
    });
  });

  it('open no raw signing', async () => {
    expect(code(await sign('any', { message: 'eA' }, 'raw'))).toBe('raw_signing_off');
  });
});

describe('reload', () => {
  const patch = { method: 'PATCH' };
  const NO_PATCH = NO_DELETE.replaceAll('DELETE', 'PATCH').replace('no-delete', 'no-patch');
  const BROKEN =
    '// below\n@id("broken") permit (principal, action, resource) when { context.metod == "GET" };';

  it('by agentkey policy reload: the new set as a whole, or the former one and why', async () => {
    const run = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
      let [out, err] = ['', ''];
      const streams = { out: (text: string) => (out += text), err: (text: string) => (err += text) };
      return { code: await main(['--admin-socket', daemon.adminSocketPath, ...args], streams), out, err };
    };
    const before = await policy();
    expect((await run('policy', 'show')).out).toContain(before.fingerprint);
    expect(code(await sign('any', patch))).toBe('signed');
    await put('no-patch.cedar', NO_PATCH);
    // Nothing counts before it is read.
    expect(code(await sign('any', patch))).toBe('signed');
    expect(await run('policy', 'reload')).toMatchObject({ code: 0, err: '' });
    expect(code(await sign('any', patch))).toBe('policy_denied');
    const good = await policy();
    expect(good).toMatchObject({ version: before.version + 1 });
    expect(good.fingerprint).not.toBe(before.fingerprint);
    const loaded = (await onRecord()).filter((it) => it.kind === 'event' && it.event === 'policy-loaded');
    expect(loaded.map((it) => 'detail' in it && it.detail)).toMatchObject([before, good]);

    // One file is better now and one is broken: neither counts.
    await rm(join(daemon.dir, 'policy.d', 'no-patch.cedar'));
    await put('broken.cedar', BROKEN);
    const refused = await run('policy', 'reload');
    expect(refused).toMatchObject({ code: 1, out: '' });
    expect(refused.err).toMatch(/broken\.cedar:2: .*metod/);
    expect(await policy()).toEqual(good);
    expect(code(await sign('any', patch))).toBe('policy_denied');
    await rm(join(daemon.dir, 'policy.d', 'broken.cedar'));
  });

  it('by SIGHUP: likewise, and the log says why', async () => {
    const { version } = await policy();
    daemon.signal('SIGHUP');
    await until(
      () => daemon.admin('GET', '/v1/policy'),
      ({ json }) => (json as { version: number }).version > version,
    );
    expect(code(await sign('any', patch))).toBe('signed');
    const good = await policy();
    await put('no-patch.cedar', NO_PATCH);
    await put('broken.cedar', BROKEN);
    const told = daemon.log().length;
    daemon.signal('SIGHUP');
    await until(
      () => daemon.admin('GET', '/v1/policy'),
      () => daemon.log().slice(told).includes('the former policy stays in force'),
    );
    expect(daemon.log().slice(told)).toMatch(/broken\.cedar:2/);
    expect(await policy()).toEqual(good);
    expect(code(await sign('any', patch))).toBe('signed');
    await rm(join(daemon.dir, 'policy.d', 'broken.cedar'));
    await rm(join(daemon.dir, 'policy.d', 'no-patch.cedar'));
  });

  it('a faulty set in observe mode stops it as well', async () => {
    const file = join(temp.path, 'observe', 'wider', 'b.cedar');
    await writeFile(file, BROKEN, { mode: 0o644 });
    const { version } = await policy();
    expect(code(await daemon.admin('POST', '/v1/policy/reload', {}))).toBe('configuration_invalid');
    expect(await policy()).toMatchObject({ version });
    await rm(file);
  });

  it('needs the role policy on the admin socket', async () => {
    expect((await daemon.request('POST', '/v1/policy/reload', {})).status).toBe(404);
  });
});

describe('intent', () => {
  const intent = { purpose: 'invoice', task: 'run-7', session: 's1', note: 'Rechnung 4711' };

  it.each([
    ['http-message', {}],
    ['dpop', { htm: 'GET', htu: 'https://api.example/' }],
    ['jwt', { typ: 'note+jwt', claims: {} }],
    ['csr', {}],
  ])('of %s is judged and recorded as the caller’s word', async (kind, request) => {
    expect(code(await sign('intent', request, kind))).toBe('policy_denied');
    expect(code(await sign('intent', { ...request, intent: { purpose: 'gift' } }, kind))).toBe(
      'policy_denied',
    );
    expect(await lastDecision('intent')).toMatchObject({
      effect: 'deny',
      policies: ['stated'],
      intent: { purpose: 'gift' },
    });
    expect(code(await sign('intent', { ...request, intent }, kind))).toBe('signed');
    expect(await lastDecision('intent')).toMatchObject({ action: kind, effect: 'permit', intent });
  });

  it.each([
    ['an unknown member', { purpose: 'invoice', amount: 3 }],
    ['a purpose of several words', { purpose: 'pay the invoice' }],
    ['a note of two lines', { note: 'a\nb' }],
    ['a note that turns text around', { note: 'a\u202eb' }],
    ['a note that is too long', { note: 'a'.repeat(513) }],
  ])('with %s is malformed', async (_what, faulty) => {
    expect(code(await sign('intent', { intent: faulty }))).toBe('malformed_request');
  });

  it('is signed with a message where it is to be disclosed, all but the note, and by nobody else', async () => {
    const disclosed = await sign('intent', { intent: { ...intent, disclose: true } });
    const { headers } = disclosed.json as { headers: Record<string, string> };
    expect(headers['agentkeyd-intent']).toBe('purpose="invoice", task="run-7", session="s1"');
    expect(headers['signature-input']).toContain('"agentkeyd-intent"');
    expect(JSON.stringify(headers)).not.toContain('4711');
    const kept = (await sign('intent', { intent })).json as { headers: Record<string, string> };
    expect(kept.headers['agentkeyd-intent']).toBeUndefined();
    const forged = { intent, headers: [['agentkeyd-intent', 'purpose="gift"']] };
    expect(code(await sign('intent', forged))).toBe('invalid_header');
  });

  it('is taken by SDK and command line', async () => {
    const client = connect({ socketPath: daemon.socketPath });
    const agent = await client.agent('intent');
    await expect(agent.signJwt('note+jwt', {})).rejects.toMatchObject({ code: 'policy_denied' });
    expect(await agent.signJwt('note+jwt', {}, { intent })).toMatch(/^ey/);
    let sent: Headers | undefined;
    const fetchWith = agent.fetch({
      intent: { purpose: 'invoice', disclose: true },
      attach: () => Promise.resolve({}),
      fetch: (_url, init) => {
        sent = new Headers(init?.headers);
        return Promise.resolve(new Response(null, { status: 204 }));
      },
    });
    await fetchWith('https://api.example/');
    expect(sent?.get('agentkeyd-intent')).toBe('purpose="invoice"');
    client.close();

    let out = '';
    const streams = { out: (text: string) => (out += text), err: () => undefined };
    const args = ['--socket', daemon.socketPath, 'sign', 'http', 'intent', 'GET', 'https://api.example/'];
    expect(await main(args, streams)).toBe(1);
    const stated = ['--purpose', 'invoice', '--task', 't', '--session', 's', '--note', 'n', '--disclose'];
    expect(await main([...args, ...stated], streams)).toBe(0);
    expect(out).toMatch(/^agentkeyd-intent: purpose="invoice", task="t", session="s"$/m);
    expect(await lastDecision('intent')).toMatchObject({
      intent: { purpose: 'invoice', task: 't', session: 's', note: 'n' },
    });
  });
});

describe('an agent’s own past', { timeout: 60_000 }, () => {
  it('counts every signature, whatever it is, and survives kill -9', async () => {
    expect(code(await sign('rated'))).toBe('signed');
    expect(code(await sign('rated', {}, 'csr'))).toBe('signed');
    // What is denied does not count.
    expect(code(await sign('rated', { typ: 'wit+jwt', claims: {} }, 'jwt'))).toBe('type_reserved');
    await daemon.kill9();
    await daemon.start();
    expect(code(await sign('rated', { typ: 'note+jwt', claims: {} }, 'jwt'))).toBe('signed');
    for (const kind of ['csr', 'http-message'])
      expect(code(await sign('rated', {}, kind))).toBe('policy_denied');
    expect(await lastDecision('rated')).toMatchObject({ policies: ['three-an-hour'] });
    // Another agent has a past of its own.
    expect(code(await sign('any'))).toBe('signed');
  });

  it('tells the first use of an origin from the next, over kill -9 as well', async () => {
    const at = (path: string, host = 'new.example') =>
      sign('greeter', { targetUri: `https://${host}${path}` });
    expect(code(await at('/data'))).toBe('policy_denied');
    expect(code(await at('/hello'))).toBe('signed');
    expect(code(await at('/data'))).toBe('signed');
    expect(code(await at('/data', 'other.example'))).toBe('policy_denied');
    await daemon.kill9();
    await daemon.start();
    expect(code(await at('/data'))).toBe('signed');
    expect(code(await at('/data', 'other.example'))).toBe('policy_denied');
  });
});
